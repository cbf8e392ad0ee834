using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

namespace Broadcast.Middleware;

/// <summary>Sets presence states of any type.</summary>
public static class PresenceExtensions
{
    /// <summary>
    /// Sets the state of a connection in a group to a value, as JSON (RFC 8259) and without reflection. Read the value
    /// with <see cref="PresenceMember.TryGetState{T}(JsonTypeInfo{T}, out T)"/>.
    /// </summary>
    /// <inheritdoc cref="IPresence.SetStateAsync"/>
    /// <param name="presence">The presence.</param>
    /// <param name="connectionId">The ID of the connection.</param>
    /// <param name="group">The name of a group that contains the connection.</param>
    /// <param name="state">
    /// The value. Null removes the state. The maximum size of the JSON is
    /// <see cref="BroadcastOptions.MaxPresenceStateBytes"/>.
    /// </param>
    /// <param name="typeInfo">The type information of a <c>JsonSerializerContext</c>.</param>
    /// <param name="cancellationToken">See <see cref="IPresence.SetStateAsync"/>.</param>
    /// <exception cref="NotSupportedException">The serializer does not support the value.</exception>
    public static ValueTask<bool> SetStateAsync<T>(
        this IPresence presence,
        string connectionId,
        string group,
        T state,
        JsonTypeInfo<T> typeInfo,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(presence);
        ArgumentNullException.ThrowIfNull(typeInfo);
        var bytes = state is null ? [] : JsonSerializer.SerializeToUtf8Bytes(state, typeInfo);
        return presence.SetStateAsync(connectionId, group, bytes, cancellationToken);
    }
}
