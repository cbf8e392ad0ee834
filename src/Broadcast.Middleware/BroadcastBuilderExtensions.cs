using System.Diagnostics.CodeAnalysis;
using Broadcast.Middleware;

namespace Microsoft.Extensions.DependencyInjection;

/// <summary>Adds filters to all endpoints of a broadcast. They run before those of an endpoint, in the order in which they were added.</summary>
public static class BroadcastBuilderExtensions
{
    /// <summary>Adds a filter around each message.</summary>
    /// <param name="builder">The broadcast.</param>
    /// <param name="filter">Gets the message, and what publishes it.</param>
    public static IBroadcastBuilder Use(this IBroadcastBuilder builder, Func<MessageContext, FilterDelegate<MessageContext>, Task> filter)
    {
        ArgumentNullException.ThrowIfNull(filter);
        return builder.Add(filters => filters.Add(new DelegateFilter { Message = filter }));
    }

    /// <summary>Adds a filter around each connection's start.</summary>
    /// <param name="builder">The broadcast.</param>
    /// <param name="filter">Gets the connection, and what lets it into its group.</param>
    public static IBroadcastBuilder UseConnect(this IBroadcastBuilder builder, Func<ConnectContext, FilterDelegate<ConnectContext>, Task> filter)
    {
        ArgumentNullException.ThrowIfNull(filter);
        return builder.Add(filters => filters.Add(new DelegateFilter { Connect = filter }));
    }

    /// <summary>Adds a filter around each connection's end.</summary>
    /// <param name="builder">The broadcast.</param>
    /// <param name="filter">Gets the connection, which has left its groups, and the filters that follow.</param>
    public static IBroadcastBuilder UseDisconnect(
        this IBroadcastBuilder builder, Func<DisconnectContext, FilterDelegate<DisconnectContext>, Task> filter)
    {
        ArgumentNullException.ThrowIfNull(filter);
        return builder.Add(filters => filters.Add(new DelegateFilter { Disconnect = filter }));
    }

    /// <summary>Adds a filter that is taken from the services, or made with its constructor's parameters taken from them, once for each endpoint:
    /// it lives as long as the app, so what it takes must too.</summary>
    /// <param name="builder">The broadcast.</param>
    public static IBroadcastBuilder Use<[DynamicallyAccessedMembers(DynamicallyAccessedMemberTypes.PublicConstructors)] TFilter>(
        this IBroadcastBuilder builder) where TFilter : class, IBroadcastFilter =>
        builder.Add(static filters => filters.Add<TFilter>());

    static IBroadcastBuilder Add(this IBroadcastBuilder builder, Action<FilterRegistrations> add)
    {
        ArgumentNullException.ThrowIfNull(builder);
        builder.Services.Configure(builder.Name, add);
        return builder;
    }
}
