using System.Text.Json;
using Broadcast.Middleware.Connections;
using Broadcast.Middleware.Delivery;
using Broadcast.Middleware.Diagnostics;
using Broadcast.Middleware.Publishing;
using Microsoft.AspNetCore.Authentication;
using Microsoft.AspNetCore.Http;

namespace Broadcast.Middleware.Http;

/// <summary>
/// Extends the authentication of a connection with the authentication of a POST request. The body names the connection:
/// <c>{"connectionId":"…"}</c>.
/// </summary>
/// <remarks>
/// A page of another site can make a browser send a request with the cookies of the user. But such a page cannot send
/// JSON without the permission of the server, and the server also checks the origin. A client cannot find out whether
/// the connection of another user exists: the answer is the same as for an unknown connection.
/// </remarks>
/// <param name="findGroup">Returns the home group that the connection must have.</param>
/// <param name="origins">Checks the origin of the page.</param>
/// <param name="userIds">Finds the user ID of the request.</param>
/// <param name="router">Sends the new authentication to the node of the connection.</param>
/// <param name="time">
/// The time provider, to check whether the new authentication has already expired. Null if connections ignore the
/// expiration.
/// </param>
/// <param name="logger">The logger.</param>
sealed class RefreshEndpoint(
    Func<HttpContext, string> findGroup,
    OriginCheck origins,
    UserIds userIds,
    MessageRouter router,
    TimeProvider? time,
    BroadcastLogger logger)
{
    const int MaxBodyBytes = 1024;

    public async Task InvokeAsync(HttpContext context)
    {
        var request = context.Request;
        if (!origins.Allows(request) || !origins.AllowsWithoutOrigin(request))
        {
            await RefuseAsync(
                context, StatusCodes.Status403Forbidden,
                "Pages of this origin are not allowed to refresh a connection. To allow them, add the origin to the " +
                "option AllowedOrigins.");
            return;
        }

        if (context.User.Identity is not { IsAuthenticated: true })
        {
            await RefuseAsync(
                context, StatusCodes.Status401Unauthorized,
                "The request is not authenticated. Send the new token as in other requests to this app, for example " +
                "in the header Authorization.");
            return;
        }

        if (userIds.Get(context) is not { } userId)
        {
            await RefuseAsync(
                context, StatusCodes.Status403Forbidden,
                "The user of the request has no ID, so the server cannot check that the user owns the connection. " +
                "Send a token that contains the user ID.");
            return;
        }

        // Authentication can accept a token for some minutes after its expiration. Such a token would end the
        // connection at once.
        var expires = context.Features.Get<IAuthenticateResultFeature>()?.AuthenticateResult?.Properties?.ExpiresUtc;
        if (time?.GetUtcNow() >= expires)
        {
            await RefuseAsync(
                context, StatusCodes.Status401Unauthorized,
                "The token of the request has already expired. Send a newer token.");
            return;
        }

        if (!request.HasJsonContentType())
        {
            await RefuseAsync(
                context, StatusCodes.Status415UnsupportedMediaType,
                "The request is not JSON. Set the header Content-Type to application/json.");
            return;
        }

        if (await ReadConnectionIdAsync(request) is not { Length: > 0 } connectionId)
        {
            await RefuseAsync(
                context, StatusCodes.Status400BadRequest,
                $"The body is not valid. Send at most {MaxBodyBytes} bytes of JSON with the ID of the connection: " +
                "{\"connectionId\":\"…\"}");
            return;
        }

        await ExtendAsync(context, new(connectionId, userId, findGroup(context), context.User, expires));
    }

    async Task ExtendAsync(HttpContext context, AuthenticationExtension extension)
    {
        try
        {
            if (await router.ExtendAuthenticationAsync(extension, context.RequestAborted))
            {
                logger.AuthenticationExtended(extension.ConnectionId, extension.Expires);
                context.Response.StatusCode = StatusCodes.Status204NoContent;
                return;
            }
        }
        catch (BackplaneException)
        {
            context.Response.Headers.RetryAfter = Refusal.RetryAfter;
            await RefuseAsync(context, StatusCodes.Status503ServiceUnavailable, CloseReasons.ClusterUnreachable);
            return;
        }

        await RefuseAsync(
            context, StatusCodes.Status404NotFound,
            "Your user has no open connection with this ID at this URL. Connect again.");
    }

    Task RefuseAsync(HttpContext context, int statusCode, string problem)
    {
        logger.RefreshRefused(statusCode, problem);
        return Refusal.WriteTextAsync(context.Response, statusCode, problem);
    }

    /// <summary>
    /// Reads the connection ID from the body. Returns null if the body is too large or is not in the expected format.
    /// </summary>
    static async Task<string?> ReadConnectionIdAsync(HttpRequest request)
    {
        var buffer = new byte[MaxBodyBytes + 1];
        var length = await request.Body.ReadAtLeastAsync(
            buffer, buffer.Length, throwOnEndOfStream: false, request.HttpContext.RequestAborted);
        if (length > MaxBodyBytes) return null;
        try
        {
            using var body = JsonDocument.Parse(buffer.AsMemory(0, length));
            return body.RootElement is { ValueKind: JsonValueKind.Object } root
                && root.TryGetProperty("connectionId", out var id) && id.ValueKind == JsonValueKind.String
                ? id.GetString()
                : null;
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException)
        {
            // GetString throws an InvalidOperationException if the text contains a lone surrogate.
            return null;
        }
    }
}
