using System.Diagnostics;
using Broadcast.Middleware.Diagnostics;

namespace Broadcast.Middleware.Publishing;

/// <summary>Describes a publish in the tags of a span.</summary>
static class PublishSpan
{
    /// <summary>
    /// Adds the kind of the recipients, the name of a single group, and the message ID, but no ID of a user or a
    /// connection.
    /// </summary>
    public static void SetRecipients(Activity span, Recipients recipients, string? messageId) =>
        BroadcastTracing.SetRecipients(
            span,
            recipients.Kind switch
            {
                RecipientsKind.Everyone => "everyone",
                RecipientsKind.Group => "group",
                RecipientsKind.Groups => "groups",
                RecipientsKind.User => "user",
                _ => "connection",
            },
            recipients.Kind == RecipientsKind.Group ? recipients.Name : null,
            messageId);

    /// <summary>Adds the result of the publish.</summary>
    public static void SetResult(Activity span, PublishResult result)
    {
        BroadcastTracing.SetOutcome(span, result switch
        {
            { IsDuplicate: true } => "duplicate",
            { IsLocalOnly: true } => "local_only",
            _ => "published",
        });
        BroadcastTracing.SetLocalRecipients(span, result.LocalRecipients);
    }
}
