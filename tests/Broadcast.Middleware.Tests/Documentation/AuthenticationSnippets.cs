using System.Security.Claims;
using Microsoft.AspNetCore.Authentication;
using Microsoft.AspNetCore.Authentication.Cookies;
using Microsoft.AspNetCore.Authentication.JwtBearer;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.IdentityModel.JsonWebTokens;
using Microsoft.IdentityModel.Tokens;

namespace Broadcast.Middleware.Tests.Documentation;

/// <summary>Contains the code of docs/guides/authentication.md.</summary>
static class AuthenticationSnippets
{
    public static void Require(WebApplication app)
    {
        app.MapBroadcast("/chat").RequireAuthorization();
    }

    public static void Refresh(WebApplication app)
    {
        app.MapBroadcast("/chat").RequireAuthorization();
        app.MapBroadcastRefresh("/chat/refresh", of: "/chat").RequireAuthorization();
    }

    public static async Task ChangeAsync(IBroadcaster broadcaster, string connectionId, ClaimsPrincipal user)
    {
        await broadcaster.ExtendAuthenticationAsync(connectionId, user, expires: DateTimeOffset.UtcNow.AddMinutes(10));
        await broadcaster.EndAuthenticationAsync(connectionId);   // closes the connection with 1008
    }

    public static void UserId(WebApplicationBuilder builder)
    {
        builder.Services.AddSingleton<IUserIdProvider, EmailUserIdProvider>();
    }

    public static void Cookies(WebApplicationBuilder builder)
    {
        builder.Services.AddAuthentication(CookieAuthenticationDefaults.AuthenticationScheme).AddCookie();
        builder.Services.AddAuthorization();
        builder.Services.AddBroadcast();
    }

    public static void MapCookies(WebApplication app)
    {
        app.MapPost("/login", async (string name, HttpContext context) =>
        {
            // Check the password here.
            var identity = new ClaimsIdentity([new Claim(ClaimTypes.NameIdentifier, name)], CookieAuthenticationDefaults.AuthenticationScheme);
            await context.SignInAsync(new ClaimsPrincipal(identity));
        });

        app.MapBroadcast("/chat").RequireAuthorization();
    }

    public static void Jwt(WebApplicationBuilder builder)
    {
        builder.Services.AddAuthentication().AddJwtBearer(options =>
        {
            options.MapInboundClaims = false;   // keeps the names of the claims, such as sub and room
            options.TokenValidationParameters = new()
            {
                ValidIssuer = "https://example.com",
                ValidAudience = "chat",
                IssuerSigningKey = new SymmetricSecurityKey(Convert.FromBase64String(builder.Configuration["Jwt:Key"]!)),
            };
            options.Events = new JwtBearerEvents
            {
                OnMessageReceived = context =>
                {
                    if (context.Request.Path.StartsWithSegments("/rooms")) context.Token = context.Request.Query["access_token"];
                    return Task.CompletedTask;
                },
            };
        });
        builder.Services.AddAuthorization();
        builder.Services.AddBroadcast();
    }

    public static void MapRooms(WebApplication app)
    {
        app.MapBroadcast("/rooms/{room}").RequireAuthorization(policy => policy
            .RequireAuthenticatedUser()
            .RequireAssertion(context => context.Resource is HttpContext http
                && http.GetRouteValue("room") is string room
                && context.User.HasClaim("room", room)));

        app.MapPost("/token", (string name, string room) =>
        {
            // Check the password and the membership of the room here.
            var key = new SymmetricSecurityKey(Convert.FromBase64String(app.Configuration["Jwt:Key"]!));
            return new JsonWebTokenHandler { TokenLifetimeInMinutes = 10 }.CreateToken(new SecurityTokenDescriptor
            {
                Issuer = "https://example.com",
                Audience = "chat",
                Claims = new Dictionary<string, object> { ["sub"] = name, ["room"] = room },
                SigningCredentials = new(key, SecurityAlgorithms.HmacSha256),
            });
        });
    }

    public static void Query(WebApplicationBuilder builder)
    {
        builder.Services.AddAuthentication().AddJwtBearer(options => options.Events = new JwtBearerEvents
        {
            OnMessageReceived = context =>
            {
                // Accept the parameter only at this URL. Elsewhere, a link could contain the token.
                if (context.Request.Path.StartsWithSegments("/chat")) context.Token = context.Request.Query["access_token"];
                return Task.CompletedTask;
            },
        });
    }

    public static JwtBearerEvents Subprotocol() => new()
    {
        OnMessageReceived = context =>
        {
            var offered = context.Request.Headers.GetCommaSeparatedValues("Sec-WebSocket-Protocol");
            context.Token = offered.FirstOrDefault(name => name.StartsWith("bearer."))?["bearer.".Length..];
            return Task.CompletedTask;
        },
    };

    public static void FirstMessage(WebApplicationBuilder builder)
    {
        builder.Services.AddBroadcast(options => options.FirstMessageTimeout = TimeSpan.FromSeconds(5));
    }

    public static void MapFirstMessage(WebApplication app)
    {
        app.MapBroadcast("/chat").UseConnect(async (context, next) =>
        {
            if (await context.ReceiveAsync() is not { } message) return;                          // the client has disconnected
            var result = await AuthenticateAsync(context.Services, message.ToString());
            if (!result.Succeeded) return;                                                        // closed with 1008
            if (context.TrySetUser(result.Principal, result.Properties.ExpiresUtc)) await next(context);
        });

        // JwtBearer reads the token from a request. So this method creates a request with the token of the message.
        static Task<AuthenticateResult> AuthenticateAsync(IServiceProvider services, string token)
        {
            var request = new DefaultHttpContext { RequestServices = services };
            request.Request.Headers.Authorization = $"Bearer {token}";
            return request.AuthenticateAsync(JwtBearerDefaults.AuthenticationScheme);
        }
    }
}

sealed class EmailUserIdProvider : IUserIdProvider
{
    public string? GetUserId(HttpContext context) => context.User.FindFirstValue("email");
}
