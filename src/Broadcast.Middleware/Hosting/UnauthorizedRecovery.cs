using Broadcast.Middleware.Http;
using Microsoft.AspNetCore.Http;

namespace Broadcast.Middleware.Hosting;

/// <summary>
/// Closes a WebSocket with close code 1008 if the app refuses the recovery of its client with status 401 or 403.
/// Microsoft's Web PubSub clients treat an HTTP error as temporary and try the recovery for 30 seconds. After a close
/// with close code 1008, these clients ask the app for a new URL and connect at once.
/// </summary>
/// <remarks>
/// The authorization middleware refuses a request before the endpoint runs. So this middleware runs before the
/// middleware of the app, and checks the response. Requests without a connection ID in the query skip this check.
/// </remarks>
static class UnauthorizedRecovery
{
    public static RequestDelegate Handle(RequestDelegate next) => context =>
        context.Request.QueryString.Value is { Length: > 0 } query
        && query.Contains(WebSocketHandler.ConnectionIdKey, StringComparison.Ordinal)
            ? InvokeAsync(context, next)
            : next(context);

    static async Task InvokeAsync(HttpContext context, RequestDelegate next)
    {
        await next(context);
        var isRefused = context.Response is
        {
            HasStarted: false,
            StatusCode: StatusCodes.Status401Unauthorized or StatusCodes.Status403Forbidden,
        };
        if (!isRefused) return;
        var mapped = context.GetEndpoint()?.Metadata.GetMetadata<MappedBroadcastMetadata>();
        if (mapped?.Handler is { } handler) await handler.OnUnauthorizedAsync(context);
    }
}
