using System.Diagnostics.CodeAnalysis;
using Broadcast.Middleware;

namespace Microsoft.AspNetCore.Builder;

/// <summary>Goes on configuring a mapped broadcast: with all that endpoints have, such as authorization, and with filters of its own.</summary>
public sealed class BroadcastEndpointConventionBuilder : IEndpointConventionBuilder
{
    readonly IEndpointConventionBuilder _endpoint;
    readonly FilterRegistrations _filters;

    internal BroadcastEndpointConventionBuilder(IEndpointConventionBuilder endpoint, FilterRegistrations filters) =>
        (_endpoint, _filters) = (endpoint, filters);

    /// <summary>Adds a filter around each message. It runs after those of the whole broadcast and those added before.</summary>
    /// <param name="filter">Gets the message, and what publishes it.</param>
    public BroadcastEndpointConventionBuilder Use(Func<MessageContext, FilterDelegate<MessageContext>, Task> filter)
    {
        ArgumentNullException.ThrowIfNull(filter);
        _filters.Add(new DelegateFilter { Message = filter });
        return this;
    }

    /// <summary>Adds a filter around each connection's start.</summary>
    /// <param name="filter">Gets the connection, and what lets it into its group.</param>
    public BroadcastEndpointConventionBuilder UseConnect(Func<ConnectContext, FilterDelegate<ConnectContext>, Task> filter)
    {
        ArgumentNullException.ThrowIfNull(filter);
        _filters.Add(new DelegateFilter { Connect = filter });
        return this;
    }

    /// <summary>Adds a filter around each connection's end.</summary>
    /// <param name="filter">Gets the connection, which has left its groups, and the filters that follow.</param>
    public BroadcastEndpointConventionBuilder UseDisconnect(Func<DisconnectContext, FilterDelegate<DisconnectContext>, Task> filter)
    {
        ArgumentNullException.ThrowIfNull(filter);
        _filters.Add(new DelegateFilter { Disconnect = filter });
        return this;
    }

    /// <summary>Adds a filter that is taken from the services, or made with its constructor's parameters taken from them, once: it
    /// lives as long as the app, so what it takes must too.</summary>
    public BroadcastEndpointConventionBuilder Use<[DynamicallyAccessedMembers(DynamicallyAccessedMemberTypes.PublicConstructors)] TFilter>()
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
