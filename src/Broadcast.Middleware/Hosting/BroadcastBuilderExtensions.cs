using System.Diagnostics.CodeAnalysis;
using Broadcast.Middleware;
using Broadcast.Middleware.Filters;

namespace Microsoft.Extensions.DependencyInjection;

/// <summary>
/// Adds filters to all endpoints of a broadcast. The filters run in the order in which you add them. The filters of an
/// endpoint run afterwards.
/// </summary>
public static class BroadcastBuilderExtensions
{
    /// <summary>Adds a filter that runs for each message from a client.</summary>
    /// <param name="builder">The broadcast.</param>
    /// <param name="filter">Receives the context and the next step. The last step publishes the message.</param>
    public static IBroadcastBuilder Use(
        this IBroadcastBuilder builder, Func<MessageContext, FilterDelegate<MessageContext>, Task> filter)
    {
        ArgumentNullException.ThrowIfNull(filter);
        return builder.Add(filters => filters.Add(new DelegateFilter { Message = filter }));
    }

    /// <summary>Adds a filter that runs when a client connects.</summary>
    /// <param name="builder">The broadcast.</param>
    /// <param name="filter">
    /// Receives the context and the next step. The last step adds the connection to its home group.
    /// </param>
    public static IBroadcastBuilder UseConnect(
        this IBroadcastBuilder builder, Func<ConnectContext, FilterDelegate<ConnectContext>, Task> filter)
    {
        ArgumentNullException.ThrowIfNull(filter);
        return builder.Add(filters => filters.Add(new DelegateFilter { Connect = filter }));
    }

    /// <summary>Adds a filter that runs after a connection has ended.</summary>
    /// <param name="builder">The broadcast.</param>
    /// <param name="filter">Receives the context and the next step.</param>
    public static IBroadcastBuilder UseDisconnect(
        this IBroadcastBuilder builder, Func<DisconnectContext, FilterDelegate<DisconnectContext>, Task> filter)
    {
        ArgumentNullException.ThrowIfNull(filter);
        return builder.Add(filters => filters.Add(new DelegateFilter { Disconnect = filter }));
    }

    /// <summary>
    /// Adds a filter class. For each connect, message or disconnect, the server gets the filter from a separate service
    /// scope, so the filter can use scoped services. If the class is not a registered service, the server creates a new
    /// filter for each event.
    /// </summary>
    /// <param name="builder">The broadcast.</param>
    public static IBroadcastBuilder Use<
        [DynamicallyAccessedMembers(DynamicallyAccessedMemberTypes.PublicConstructors)] TFilter>(
        this IBroadcastBuilder builder) where TFilter : class, IBroadcastFilter =>
        builder.Add(static filters => filters.Add<TFilter>());

    static IBroadcastBuilder Add(this IBroadcastBuilder builder, Action<FilterRegistrations> add)
    {
        ArgumentNullException.ThrowIfNull(builder);
        builder.Services.Configure(builder.Name, add);
        return builder;
    }
}
