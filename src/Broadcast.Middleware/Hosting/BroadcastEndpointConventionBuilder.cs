using System.Diagnostics.CodeAnalysis;
using Broadcast.Middleware;
using Broadcast.Middleware.Filters;

namespace Microsoft.AspNetCore.Builder;

/// <summary>
/// Configures an endpoint of <c>MapBroadcast</c> or <c>MapBroadcastPresence</c>: its conventions, such as
/// authorization, and its filters.
/// </summary>
public sealed class BroadcastEndpointConventionBuilder : IEndpointConventionBuilder
{
    readonly IEndpointConventionBuilder _endpoint;
    readonly FilterRegistrations _filters;

    internal BroadcastEndpointConventionBuilder(IEndpointConventionBuilder endpoint, FilterRegistrations filters) =>
        (_endpoint, _filters) = (endpoint, filters);

    /// <summary>
    /// Adds a filter that runs for each message from a client. The filter runs after the filters of the broadcast and
    /// after all filters that you added earlier.
    /// </summary>
    /// <param name="filter">Receives the context and the next step. The last step publishes the message.</param>
    public BroadcastEndpointConventionBuilder Use(
        Func<MessageContext, FilterDelegate<MessageContext>, Task> filter)
    {
        ArgumentNullException.ThrowIfNull(filter);
        _filters.Add(new DelegateFilter { Message = filter });
        return this;
    }

    /// <summary>Adds a filter that runs when a client connects.</summary>
    /// <param name="filter">
    /// Receives the context and the next step. The last step adds the connection to its home group.
    /// </param>
    public BroadcastEndpointConventionBuilder UseConnect(
        Func<ConnectContext, FilterDelegate<ConnectContext>, Task> filter)
    {
        ArgumentNullException.ThrowIfNull(filter);
        _filters.Add(new DelegateFilter { Connect = filter });
        return this;
    }

    /// <summary>Adds a filter that runs after a connection has ended.</summary>
    /// <param name="filter">Receives the context and the next step.</param>
    public BroadcastEndpointConventionBuilder UseDisconnect(
        Func<DisconnectContext, FilterDelegate<DisconnectContext>, Task> filter)
    {
        ArgumentNullException.ThrowIfNull(filter);
        _filters.Add(new DelegateFilter { Disconnect = filter });
        return this;
    }

    /// <summary>
    /// Adds a filter class. For each connect, message or disconnect, the server gets the filter from a separate service
    /// scope, so the filter can use scoped services. If the class is not a registered service, the server creates a new
    /// filter for each event.
    /// </summary>
    public BroadcastEndpointConventionBuilder Use<
        [DynamicallyAccessedMembers(DynamicallyAccessedMemberTypes.PublicConstructors)] TFilter>()
        where TFilter : class, IBroadcastFilter
    {
        _filters.Add<TFilter>();
        return this;
    }

    /// <inheritdoc />
    public void Add(Action<EndpointBuilder> convention) => _endpoint.Add(convention);

    /// <inheritdoc />
    public void Finally(Action<EndpointBuilder> finallyConvention) => _endpoint.Finally(finallyConvention);
}
