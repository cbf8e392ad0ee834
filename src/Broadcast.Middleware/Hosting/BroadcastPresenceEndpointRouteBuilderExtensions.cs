using System.Diagnostics.CodeAnalysis;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Broadcast.Middleware;
using Broadcast.Middleware.Hosting;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;

namespace Microsoft.AspNetCore.Builder;

/// <summary>Maps URLs that show the members of a group.</summary>
public static class BroadcastPresenceEndpointRouteBuilderExtensions
{
    /// <summary>
    /// Maps a URL whose clients see the members of another URL's group, and each join, leave and state change. The
    /// clients use a WebSocket or server-sent events, and send nothing.
    /// </summary>
    /// <remarks>
    /// A client first receives <c>{"type":"snapshot","members":[…]}</c>, and then
    /// <c>{"type":"update","members":[…]}</c> for changes. If the snapshot is too large for one message, updates
    /// contain the rest. A member is <c>{"id":"…","state":…}</c>: the connection ID, and the presence state if the
    /// state is JSON. A member that has left is <c>{"id":"…","left":true}</c>. Clients receive no user IDs. Use the
    /// other overload to show a part of the member instead of its state.
    /// <para>
    /// The clients of this URL are not clients of the watched broadcast. They do not receive the messages of the
    /// watched broadcast, and are not in its registry. The options of the broadcast also apply to these clients, but
    /// the limits count these clients separately. The app does not start if the watched URL requires authorization, but
    /// this URL does not. Call <c>RequireAuthorization</c> or <c>AllowAnonymous</c> on the result.
    /// </para>
    /// </remarks>
    /// <param name="endpoints">The app, or a route group.</param>
    /// <param name="pattern">
    /// The route pattern, for example <c>/rooms/{room}/presence</c>. The pattern must have all parameters of
    /// <paramref name="of"/>.
    /// </param>
    /// <param name="of">
    /// The pattern of the watched URL, as in the call of <c>MapBroadcast</c>, for example <c>/rooms/{room}</c>.
    /// </param>
    /// <param name="name">The name of the watched broadcast. Empty for the default broadcast.</param>
    /// <exception cref="InvalidOperationException">The app did not call <c>AddBroadcast</c>.</exception>
    public static BroadcastEndpointConventionBuilder MapBroadcastPresence(
        this IEndpointRouteBuilder endpoints,
        [StringSyntax("Route")] string pattern,
        [StringSyntax("Route")] string of,
        string name = "") =>
        Map(endpoints, pattern, of, name, null);

    /// <summary>
    /// Maps a URL whose clients see the members of another URL's group. The app selects the part of each member that
    /// the clients see.
    /// </summary>
    /// <remarks>
    /// The messages are the same as in the other overload, but <c>state</c> contains the selected value.
    /// </remarks>
    /// <param name="endpoints">The app, or a route group.</param>
    /// <param name="pattern">
    /// The route pattern, for example <c>/rooms/{room}/presence</c>. The pattern must have all parameters of
    /// <paramref name="of"/>.
    /// </param>
    /// <param name="of">
    /// The pattern of the watched URL, as in the call of <c>MapBroadcast</c>, for example <c>/rooms/{room}</c>.
    /// </param>
    /// <param name="select">
    /// Returns the value that clients see, or null to hide the member. The server calls the delegate once for each
    /// change of a member, not for each client. If the delegate throws an exception, the server logs an error and hides
    /// the member.
    /// </param>
    /// <param name="typeInfo">The type information of a <c>JsonSerializerContext</c>.</param>
    /// <param name="name">The name of the watched broadcast. Empty for the default broadcast.</param>
    /// <exception cref="InvalidOperationException">The app did not call <c>AddBroadcast</c>.</exception>
    public static BroadcastEndpointConventionBuilder MapBroadcastPresence<T>(
        this IEndpointRouteBuilder endpoints,
        [StringSyntax("Route")] string pattern,
        [StringSyntax("Route")] string of,
        Func<PresenceMember, T?> select,
        JsonTypeInfo<T> typeInfo,
        string name = "")
        where T : class
    {
        ArgumentNullException.ThrowIfNull(select);
        ArgumentNullException.ThrowIfNull(typeInfo);
        return Map(endpoints, pattern, of, name, (writer, member) =>
        {
            if (select(member) is not { } value) return false;
            JsonSerializer.Serialize(writer, value, typeInfo);
            return true;
        });
    }

    static BroadcastEndpointConventionBuilder Map(
        IEndpointRouteBuilder endpoints,
        string pattern,
        string of,
        string name,
        Func<Utf8JsonWriter, PresenceMember, bool>? select)
    {
        const string Call = nameof(MapBroadcastPresence);
        ArgumentNullException.ThrowIfNull(endpoints);
        ArgumentNullException.ThrowIfNull(pattern);
        ArgumentNullException.ThrowIfNull(of);
        ArgumentNullException.ThrowIfNull(name);
        var watched = EndpointMapper.GetBroadcast(endpoints, $"{Call}(\"{pattern}\")", name);
        var broadcast = endpoints.ServiceProvider.GetRequiredKeyedService<PresenceBroadcast>(name).Instance;
        var options = broadcast.CreateEndpointOptions();
        // The clients send no first message, so no timeout applies. All messages to a client are JSON, so the server
        // must not send a heartbeat text.
        (options.FirstMessageTimeout, options.HeartbeatMessage) = (Timeout.InfiniteTimeSpan, null);
        var related = new RelatedEndpoint(Call, pattern, of, name, needsSameAuthorization: false);
        var filter = watched.CreatePresenceFilter(watched.CreatePresenceFeeds(select), related.FindGroup);
        var endpoint = EndpointMapper.Map(
            endpoints,
            pattern,
            new MappedBroadcastMetadata(Call, name),
            (route, hosts, filters) => broadcast.CreateEndpoint(route, hosts, options, [.. filters, filter]));
        endpoint.WithMetadata(related);
        return endpoint;
    }
}
