using System.Net.WebSockets;
using System.Security.Claims;
using System.Security.Cryptography;
using Broadcast.Middleware;
using Microsoft.IdentityModel.JsonWebTokens;
using Microsoft.IdentityModel.Tokens;

namespace WebDemo;

/// <summary>
/// A room for members. A login returns a JSON Web Token, and the handshake needs this token. The room has its own broadcast.
/// So <c>POST /publish</c>, which any client can use, cannot send a message under the name of a member.
/// </summary>
static class Members
{
    public const string BroadcastName = "members";
    const string Password = "demo", Issuer = "webdemo";

    // After a restart, old tokens are invalid. The nodes of a cluster need a common key in their settings instead.
    static readonly SymmetricSecurityKey Key = new(RandomNumberGenerator.GetBytes(32));

    public static void Add(IServiceCollection services)
    {
        services.AddAuthorization();
        services.AddAuthentication().AddJwtBearer(static options =>
        {
            options.MapInboundClaims = false;
            options.TokenValidationParameters =
                new() { ValidIssuer = Issuer, ValidAudience = Issuer, IssuerSigningKey = Key, ClockSkew = TimeSpan.Zero };
            options.Events = new() { OnMessageReceived = static context => Task.FromResult(context.Token = ReadToken(context.Request)) };
        });
    }

    public static void Map(IEndpointRouteBuilder app)
    {
        app.MapPost("/login", LogIn);
        #region members
        // A member gets a new token, and extends the open connection with this token. A real app limits the number of renewals.
        app.MapPost("/login/renew", Renew).RequireAuthorization();
        app.MapBroadcastRefresh("/members/refresh", of: "/members", BroadcastName).RequireAuthorization();
        // The page needs the ID of its connection to extend the connection.
        app.MapBroadcast("/members", BroadcastName).RequireAuthorization().Use<ConnectionIdFilter>().Use(SignAsync);
        // Presence by user: a member with several open pages appears once.
        app.MapGet("/members/online", static async ([FromKeyedServices(BroadcastName)] IPresence presence, CancellationToken aborted) =>
            TypedResults.Text(string.Join('\n', await presence.GetUsersAsync("/members", aborted)))).RequireAuthorization();
        #endregion
    }

    #region members
    // A browser cannot set the header Authorization of a WebSocket or an event stream, so the page sends the token in the query.
    static string? ReadToken(HttpRequest request) =>
        request.Path.StartsWithSegments("/members") ? (string?)request.Query["access_token"] : null;
    #endregion

    static async Task SignAsync(MessageContext context, FilterDelegate<MessageContext> next)
    {
        if (context.Message.Type != MessageType.Text)
        {
            context.Close(WebSocketCloseStatus.InvalidMessageType, "This URL accepts text messages only.");
            return;
        }

        #region members
        // The server adds the name of the member, so no member can use the name of another member.
        context.Text = $"{context.Connection.UserId}: {context.Text}";
        await next(context);
        #endregion
    }

    static IResult LogIn(LoginRequest login, TimeProvider time)
    {
        if (login.Password != Password) return TypedResults.Text("The password is wrong.", statusCode: 401);
        if (DisplayName.Normalize(login.Name) is not { } name || name.Contains(':'))
            return TypedResults.Text("Enter a name with 1 to 32 characters and without a colon.", statusCode: 400);
        return TypedResults.Ok(CreateSession(name, time));
    }

    static LoginResponse Renew(ClaimsPrincipal member, TimeProvider time) => CreateSession(member.FindFirstValue("sub")!, time);

    #region login
    static LoginResponse CreateSession(string name, TimeProvider time)
    {
        var expires = time.GetUtcNow().AddMinutes(10);
        var token = new JsonWebTokenHandler().CreateToken(new SecurityTokenDescriptor
        {
            Issuer = Issuer, Audience = Issuer, Expires = expires.UtcDateTime, Subject = new([new Claim("sub", name)]),
            SigningCredentials = new(Key, SecurityAlgorithms.HmacSha256),
        });
        return new(name, token, expires.ToUnixTimeMilliseconds());
    }
    #endregion
}

/// <summary>The body of <c>POST /login</c>.</summary>
/// <param name="Name">The name of the member.</param>
/// <param name="Password">The password. The demo has one password for all members.</param>
sealed record LoginRequest(string Name, string Password);

/// <summary>The response of <c>POST /login</c> and <c>POST /login/renew</c>.</summary>
/// <param name="Name">The name of the member.</param>
/// <param name="Token">The JSON Web Token.</param>
/// <param name="Expires">The time when the token expires, in milliseconds since 1970.</param>
sealed record LoginResponse(string Name, string Token, long Expires);
