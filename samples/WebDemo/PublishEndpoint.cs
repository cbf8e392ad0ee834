using System.Buffers;
using System.Text.Unicode;
using Broadcast.Middleware;
using Microsoft.AspNetCore.Http.HttpResults;
using Microsoft.AspNetCore.Http.Metadata;
using Microsoft.AspNetCore.Mvc;
using Microsoft.Extensions.Options;

namespace WebDemo;

/// <summary>
/// <c>curl -d hello 'localhost:5000/publish?group=/rooms/blue'</c>: the body goes to a group, or without one to everyone. Anybody may:
/// a real app would map it with <c>RequireAuthorization()</c>.
/// </summary>
static class PublishEndpoint
{
    /// <summary>The body is bounded below, by the limit for messages in place of the server's for requests.</summary>
    public static IRequestSizeLimitMetadata OwnSizeLimit { get; } = new DisableRequestSizeLimitAttribute();

    public static async Task<IResult> PublishAsync(
        HttpRequest request, IBroadcaster broadcaster, IOptions<BroadcastOptions> options, string? group, CancellationToken cancellationToken)
    {
        if (ToRecipients(group) is not { } recipients)
            return Problem(StatusCodes.Status400BadRequest, "A group's name has 1 to 255 characters, none of them a control character: ?group=/rooms/blue.");

        var limit = options.Value.MaxMessageBytes;
        if (request.ContentLength > limit) return TooLarge(limit);
        var body = await request.BodyReader.ReadAtLeastAsync(limit + 1, cancellationToken);
        var text = body.Buffer.ToArray();
        request.BodyReader.AdvanceTo(body.Buffer.End);
        if (text.Length > limit) return TooLarge(limit);
        if (text.Length == 0) return Problem(StatusCodes.Status400BadRequest, "The body is empty: send the text to publish in it, as curl -d hello does.");

        // The bytes as they came: whatever the Content-Type says, curl's default for -d included, they are the text.
        if (!Utf8.IsValid(text)) return Problem(StatusCodes.Status400BadRequest, "The body is not valid UTF-8: encode the text so.");
        var result = await broadcaster.PublishAsync(new Message(text, MessageType.Text), recipients, cancellationToken);
        return TypedResults.Json(new PublishAnswer(result.LocalRecipients, result.Position?.Offset), DemoJson.Default.PublishAnswer);
    }

    static Recipients? ToRecipients(string? group)
    {
        try
        {
            return group is null ? Recipients.All : Recipients.Group(group);
        }
        catch (ArgumentException)
        {
            return null;
        }
    }

    static ContentHttpResult TooLarge(int limit) => Problem(
        StatusCodes.Status413PayloadTooLarge, $"The body exceeds {limit} bytes: send less, or raise Broadcast:MaxMessageBytes in the settings.");

    static ContentHttpResult Problem(int statusCode, string text) => TypedResults.Text(text + "\n", statusCode: statusCode);
}
