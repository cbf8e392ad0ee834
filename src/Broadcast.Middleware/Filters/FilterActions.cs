using Broadcast.Middleware.Connections;
using Broadcast.Middleware.Logs;
using Broadcast.Middleware.Publishing;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Filters;

/// <summary>The actions that filter contexts need in addition to the public interfaces.</summary>
/// <param name="broadcaster">The broadcaster of the contexts.</param>
/// <param name="validator">Checks replies.</param>
/// <param name="scopes">Creates a service scope for each context.</param>
sealed class FilterActions(IBroadcaster broadcaster, MessageValidator validator, IServiceScopeFactory scopes)
{
    public IBroadcaster Broadcaster => broadcaster;

    public AsyncServiceScope CreateScope() => scopes.CreateAsyncScope();

    /// <summary>
    /// Sends a message to one connection, unless the connection has ended. If the client is slow, the call waits until
    /// the server has sent earlier messages. The metric of published messages does not count this message.
    /// </summary>
    public ValueTask<PublishResult> ReplyAsync(
        Connection connection, Message message, CancellationToken cancellationToken)
    {
        validator.ThrowIfInvalid(message);
        cancellationToken.ThrowIfCancellationRequested();
        var sending = connection.SendAsync(message, EntryMetadata.CreatePrivate(message, null), cancellationToken);
        return sending.IsCompletedSuccessfully ? new(ToResult(sending.Result)) : AwaitAsync(sending);

        static async ValueTask<PublishResult> AwaitAsync(ValueTask<bool> sending) =>
            ToResult(await sending.ConfigureAwait(false));

        static PublishResult ToResult(bool isSent) => isSent ? new(null, 1) : default;
    }
}
