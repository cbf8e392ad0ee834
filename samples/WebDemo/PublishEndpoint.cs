using System.Buffers;
using System.Text.Unicode;
using Broadcast.Middleware;
using Microsoft.AspNetCore.Http.HttpResults;
using Microsoft.AspNetCore.Http.Metadata;
using Microsoft.AspNetCore.Mvc;
using Microsoft.Extensions.Options;

namespace WebDemo;

/// <summary>
/// Publishes the request body: <c>curl -d hello 'localhost:5000/publish?group=/rooms/blue'</c>. If the URL contains no
/// group, every connection of the default broadcast receives the message. With <c>transient=true</c>, the group does not keep
/// the message. With <c>key=…</c>, a newer message with the same key replaces the message, and the group can retain the newest
/// message of each key. With <c>remove=true</c>, the message removes the retained value of its key. With <c>id=…</c>, a repeated
/// request has no effect, so a client can safely retry.
/// </summary>
/// <remarks>
/// Any client can use this endpoint. In a real app, map the endpoint with <c>RequireAuthorization()</c>. The endpoint refuses
/// the groups of the board, because they keep messages, and each of their messages contains the name of its sender.
/// </remarks>
static class PublishEndpoint
{
    /// <summary>
    /// Disables the server's limit for request bodies, because the endpoint checks the limit for messages itself.
    /// </summary>
    public static IRequestSizeLimitMetadata NoServerSizeLimit { get; } = new DisableRequestSizeLimitAttribute();

    public static async Task<IResult> PublishAsync(
        HttpRequest request, IBroadcaster broadcaster, IOptions<BroadcastOptions> options, string? group, string? id, string? key,
        string? remove, string? transient, CancellationToken cancellationToken)
    {
        if (GetRecipients(group) is not { } recipients)
            return BadRequest("The group name is not valid. Use 1 to 255 characters and no control characters: ?group=/rooms/blue.");

        if (group is "/board" or "/board/cursors")
            return Problem(StatusCodes.Status403Forbidden, "Only the board publishes to this group. Draw at /board.html.");

        if (!bool.TryParse(transient ?? bool.FalseString, out var isTransient))
            return BadRequest("The value of transient is not valid. Use transient=true or transient=false.");

        if (!bool.TryParse(remove ?? bool.FalseString, out var removesKey))
            return BadRequest("The value of remove is not valid. Use remove=true or remove=false.");

        var limit = options.Value.MaxMessageBytes;
        if (request.ContentLength > limit) return TooLarge(limit);
        var body = await request.BodyReader.ReadAtLeastAsync(limit + 1, cancellationToken);
        var text = body.Buffer.ToArray();
        request.BodyReader.AdvanceTo(body.Buffer.End);
        if (text.Length > limit) return TooLarge(limit);
        if (text.Length == 0) return BadRequest("The body is empty. Send the text in the body, for example with curl -d hello.");

        // The endpoint ignores Content-Type, because curl -d sends every body with the content type of a form.
        if (!Utf8.IsValid(text)) return BadRequest("The body is not valid UTF-8. Encode the text as UTF-8.");
        #region publish
        // A repeated request with the same ID has no effect.
        var message = new Message(text, MessageType.Text) { Id = id, Key = key, RemoveKey = removesKey, IsTransient = isTransient };
        #endregion
        PublishResult result;
        try
        {
            #region publish
            result = await broadcaster.PublishAsync(message, recipients, cancellationToken);
            #endregion
        }
        catch (ArgumentException exception)
        {
            // For example, the key is too long.
            return BadRequest(exception.Message);
        }
        catch (InvalidOperationException exception)
        {
            // The group already retains the maximum number of keys or bytes.
            return Problem(StatusCodes.Status409Conflict, exception.Message);
        }

        var response = new PublishResponse(result.LocalRecipients, result.Position?.Offset, result.IsDuplicate);
        return TypedResults.Json(response, DemoJson.Default.PublishResponse);
    }

    static Recipients? GetRecipients(string? group)
    {
        try
        {
            #region publish
            // Without a group, every connection of the default broadcast receives the message.
            return group is null ? Recipients.Everyone : Recipients.Group(group);
            #endregion
        }
        catch (ArgumentException)
        {
            return null;
        }
    }

    static ContentHttpResult TooLarge(int limit) => Problem(
        StatusCodes.Status413PayloadTooLarge,
        $"The body is larger than {limit} bytes. Send a smaller body, or increase Broadcast:MaxMessageBytes in the settings.");

    static ContentHttpResult BadRequest(string text) => Problem(StatusCodes.Status400BadRequest, text);

    static ContentHttpResult Problem(int statusCode, string text) => TypedResults.Text(text + "\n", statusCode: statusCode);
}
