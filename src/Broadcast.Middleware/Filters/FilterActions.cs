using Broadcast.Middleware.Connections;
using Broadcast.Middleware.Logs;
using Broadcast.Middleware.Publishing;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Filters;

/// <summary>The actions of filter contexts that the public interfaces do not offer.</summary>
/// <param name="broadcaster">The broadcaster of the contexts.</param>
/// <param name="validator">Checks replies.</param>
/// <param name="scopes">Creates a service scope for each context.</param>
sealed class FilterActions(IBroadcaster broadcaster, MessageValidator validator, IServiceScopeFactory scopes)
{
    public IBroadcaster Broadcaster => broadcaster;

    public AsyncServiceScope CreateScope() => scopes.CreateAsyncScope();

    /// <summary>
    /// Sends a message to one connection, unless the connection has ended. The message does not count as a published
    /// message.
    /// </summary>
    public PublishResult Reply(Connection connection, Message message)
    {
        validator.ThrowIfInvalid(message);
        if (connection.HasLeft) return default;
        connection.Send(message, EntryMetadata.Create(message, null));
        return new(null, 1);
    }
}
