using System.Globalization;
using System.Security.Claims;
using System.Text.Encodings.Web;
using Microsoft.AspNetCore.Authentication;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Broadcast.Middleware.Tests.Support;

/// <summary>An authentication scheme that takes the user, the role and the expiration from request headers.</summary>
sealed class TestUsers(IOptionsMonitor<AuthenticationSchemeOptions> options, ILoggerFactory logger, UrlEncoder encoder)
    : AuthenticationHandler<AuthenticationSchemeOptions>(options, logger, encoder)
{
    const string User = "X-User", Expires = "X-Expires", Role = "X-Role";

    public static void Add(WebApplicationBuilder builder) =>
        builder.Services.AddAuthentication("Test").AddScheme<AuthenticationSchemeOptions, TestUsers>("Test", null);

    public static (string, string?) As(string user) => (User, user);

    public static (string, string?) In(string role) => (Role, role);

    public static (string, string?) Until(DateTimeOffset time) => (Expires, time.ToString("O", CultureInfo.InvariantCulture));

    protected override Task<AuthenticateResult> HandleAuthenticateAsync()
    {
        if (Request.Headers[User] is not [{ } user]) return Task.FromResult(AuthenticateResult.NoResult());
        var identity = new ClaimsIdentity([new Claim(ClaimTypes.NameIdentifier, user)], Scheme.Name);
        if (Request.Headers[Role] is [{ } role]) identity.AddClaim(new Claim(ClaimTypes.Role, role));
        var principal = new ClaimsPrincipal(identity);
        var properties = new AuthenticationProperties();
        if (Request.Headers[Expires] is [{ } expires]) properties.ExpiresUtc = DateTimeOffset.Parse(expires, CultureInfo.InvariantCulture);
        return Task.FromResult(AuthenticateResult.Success(new AuthenticationTicket(principal, properties, Scheme.Name)));
    }
}
