using System.Net.WebSockets;
using System.Security.Claims;
using Broadcast.Middleware;
using Microsoft.AspNetCore.Authentication.JwtBearer;
using Microsoft.AspNetCore.Http.HttpResults;

namespace WebDemo;

/// <summary>A room for members. A login returns a JSON Web Token, and the handshake needs this token.</summary>
static class Members
{
    const string Password = "demo";

    public static void Add(IServiceCollection services)
    {
        services.ConfigureHttpJsonOptions(static options =>
            options.SerializerOptions.TypeInfoResolverChain.Insert(0, DemoJson.Default));
        services.AddAuthorization();
        services.AddAuthentication(JwtBearerDefaults.AuthenticationScheme).AddJwtBearer(static options =>
        {
            options.MapInboundClaims = false;
            options.TokenValidationParameters = MemberTokens.Validation;
            options.Events = new() { OnMessageReceived = ReadTokenFromQuery };
        });
    }

    #region members
    public static void Map(IEndpointRouteBuilder app)
    {
        app.MapPost("/login", LogIn);
        // A member gets a new token, and extends the open connection with this token. A real app limits the number of renewals.
        app.MapPost("/login/renew", Renew).RequireAuthorization();
        app.MapBroadcastRefresh("/members/refresh", of: "/members").RequireAuthorization();
        app.MapBroadcast("/members").RequireAuthorization().UseConnect(ReplyIdAsync).Use(static (context, next) =>
        {
            if (context.Message.Type != MessageType.Text) return CloseAsync(context);
            // The server adds the name of the member, so no member can use the name of another member.
            context.Text = $"{context.Connection.UserId}: {context.Text}";
            return next(context);
        });
    }

    static Task ReadTokenFromQuery(MessageReceivedContext context)
    {
        // A browser cannot set the header Authorization of a WebSocket, so the page sends the token in the query.
        if (context.Request.Path == "/members") context.Token = context.Request.Query["access_token"];
        return Task.CompletedTask;
    }
    #endregion

    /// <summary>
    /// Sends the connection ID to a page that connects with ?you. The page needs the ID to extend its connection. Other clients
    /// receive only messages.
    /// </summary>
    static async Task ReplyIdAsync(ConnectContext context, FilterDelegate<ConnectContext> next)
    {
        await next(context);
        var isPage = context.HttpContext.Request.Query.ContainsKey("you");
        if (isPage && context.Result.Joined) await context.ReplyAsync($"you {context.Connection.Id}");
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
        return TypedResults.Json(MemberTokens.Create(name, time), DemoJson.Default.LoginResponse);
    }

    static JsonHttpResult<LoginResponse> Renew(ClaimsPrincipal member, TimeProvider time) =>
        TypedResults.Json(MemberTokens.Create(member.FindFirstValue("sub")!, time), DemoJson.Default.LoginResponse);
}
