using System.Net.WebSockets;
using System.Security.Claims;
using System.Security.Cryptography;
using Broadcast.Middleware;
using Microsoft.AspNetCore.Authentication.JwtBearer;
using Microsoft.IdentityModel.JsonWebTokens;
using Microsoft.IdentityModel.Tokens;

namespace WebDemo;

/// <summary>A room for members. A login returns a JSON Web Token, and the handshake needs this token.</summary>
static class Members
{
    const string Issuer = "webdemo", Password = "demo";
    static readonly TimeSpan Lifetime = TimeSpan.FromMinutes(10);

    // After a restart, old tokens are invalid. The nodes of a cluster need a common key in their settings instead.
    static readonly SymmetricSecurityKey Key = new(RandomNumberGenerator.GetBytes(32));

    public static void Add(IServiceCollection services)
    {
        services.ConfigureHttpJsonOptions(static options =>
            options.SerializerOptions.TypeInfoResolverChain.Insert(0, DemoJson.Default));
        services.AddAuthorization();
        services.AddAuthentication(JwtBearerDefaults.AuthenticationScheme).AddJwtBearer(static options =>
        {
            options.MapInboundClaims = false;
            options.TokenValidationParameters = new()
            {
                ValidIssuer = Issuer, ValidAudience = Issuer, IssuerSigningKey = Key, ClockSkew = TimeSpan.Zero,
            };
            options.Events = new() { OnMessageReceived = ReadTokenFromQuery };
        });
    }

    #region members
    public static void Map(IEndpointRouteBuilder app)
    {
        app.MapPost("/login", LogIn);
        // The server adds the name of the member, so no member can use the name of another member.
        app.MapBroadcast("/members").RequireAuthorization().UseConnect(ReplyIdAsync).Use(static (context, next) =>
        {
            if (context.Message.Type != MessageType.Text) return CloseAsync(context);
            context.Text = $"{context.Connection.UserId}: {context.Text}";
            return next(context);
        });
        // With a new token, a member extends its open connection. Without this request, the connection ends with its first token.
        app.MapPost("/login/renew", Renew).RequireAuthorization();
        app.MapBroadcastRefresh("/members/refresh", of: "/members").RequireAuthorization();
    }

    static Task ReadTokenFromQuery(MessageReceivedContext context)
    {
        // A browser cannot set the header Authorization of a WebSocket, so the page sends the token in the query.
        if (context.Request.Path == "/members") context.Token = context.Request.Query["access_token"];
        return Task.CompletedTask;
    }
    #endregion

    /// <summary>Sends the ID that the page needs to extend its connection. Other clients receive only messages.</summary>
    static async Task ReplyIdAsync(ConnectContext context, FilterDelegate<ConnectContext> next)
    {
        await next(context);
        if (context.Result.Joined && context.HttpContext.Request.Query.ContainsKey("you")) await context.ReplyAsync($"you {context.Connection.Id}");
    }

    static Task CloseAsync(MessageContext context)
    {
        context.Close(WebSocketCloseStatus.InvalidMessageType, "This URL accepts text messages only.");
        return Task.CompletedTask;
    }

    static IResult LogIn(LoginRequest login, TimeProvider time)
    {
        if (login.Password != Password)
            return TypedResults.Text("The password is wrong.", statusCode: 401);
        if (DisplayName.Normalize(login.Name) is not { } name || name.Contains(':'))
            return TypedResults.Text("Enter a name with 1 to 32 characters and without a colon.", statusCode: 400);
        return CreateSession(name, time);
    }

    static IResult Renew(ClaimsPrincipal member, TimeProvider time) => CreateSession(member.FindFirstValue("sub")!, time);

    static IResult CreateSession(string name, TimeProvider time)
    {
        var expires = time.GetUtcNow() + Lifetime;
        var token = new JsonWebTokenHandler().CreateToken(new SecurityTokenDescriptor
        {
            Issuer = Issuer, Audience = Issuer, Expires = expires.UtcDateTime, Subject = new([new Claim("sub", name)]),
            SigningCredentials = new(Key, SecurityAlgorithms.HmacSha256),
        });
        return TypedResults.Json(new LoginResponse(name, token, expires.ToUnixTimeMilliseconds()), DemoJson.Default.LoginResponse);
    }
}
