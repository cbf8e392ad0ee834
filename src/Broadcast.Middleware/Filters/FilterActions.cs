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
    /// Sends a message to one connection, unless the connection has ended. The metric of published messages does not
    /// count this message.
    /// </summary>
    public PublishResult Reply(Connection connection, Message message)
    {
        validator.ThrowIfInvalid(message);
        if (connection.HasLeft) return default;
        connection.Send(message, EntryMetadata.Create(message, null));
        return new(null, 1);
    }
}
