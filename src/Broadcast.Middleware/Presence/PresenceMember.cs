using System.Diagnostics.CodeAnalysis;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

namespace Broadcast.Middleware;

/// <summary>A connection in a group.</summary>
/// <param name="connectionId">See <see cref="ConnectionId"/>.</param>
/// <param name="userId">See <see cref="UserId"/>.</param>
/// <param name="state">See <see cref="State"/>.</param>
public sealed class PresenceMember(string connectionId, string? userId, ReadOnlyMemory<byte> state)
    : IEquatable<PresenceMember>
{
    /// <summary>The ID of the connection: see <see cref="IBroadcastConnection.Id"/>.</summary>
    public string ConnectionId { get; } = connectionId;

    /// <summary>
    /// The ID of the user. The ID is the same on all devices of the user. Null for an anonymous client.
    /// </summary>
    public string? UserId { get; } = userId;

    /// <summary>The state that <see cref="IPresence.SetStateAsync"/> set. Empty if the member has no state.</summary>
    public ReadOnlyMemory<byte> State { get; } = state;

    /// <summary>Reads the state as JSON (RFC 8259), without reflection.</summary>
    /// <remarks>
    /// With the JSON subprotocol, clients can set their own states: see <see cref="GroupOperation.SetState"/>. Such a
    /// state can have any shape, so check the result.
    /// </remarks>
    /// <param name="typeInfo">The type information of a <c>JsonSerializerContext</c>.</param>
    /// <param name="state">The state. The default value if the method returns false.</param>
    /// <returns>False if the member has no state, or if the state is not JSON of this type.</returns>
    public bool TryGetState<T>(JsonTypeInfo<T> typeInfo, [NotNullWhen(true)] out T? state) =>
        TryGetState(typeInfo, out state, out _);

    /// <summary>
    /// Reads the state as JSON (RFC 8259), without reflection, and returns the problem of a wrong state.
    /// </summary>
    /// <inheritdoc cref="TryGetState{T}(JsonTypeInfo{T}, out T)"/>
    /// <param name="typeInfo">The type information of a <c>JsonSerializerContext</c>.</param>
    /// <param name="state">The state. The default value if the method returns false.</param>
    /// <param name="problem">
    /// The problem, with the position in the JSON. Null if the state is valid, or if the member has no state.
    /// </param>
    public bool TryGetState<T>(JsonTypeInfo<T> typeInfo, [NotNullWhen(true)] out T? state, out string? problem)
    {
        ArgumentNullException.ThrowIfNull(typeInfo);
        (state, problem) = (default, null);
        if (State.IsEmpty) return false;
        try
        {
            state = JsonSerializer.Deserialize(State.Span, typeInfo);
            if (state is null) problem = "The state is the JSON value null.";
        }
        catch (Exception exception) when (exception is JsonException or NotSupportedException)
        {
            // The serializer throws a NotSupportedException if the state of a polymorphic type names no type.
            problem = exception.Message;
        }

        return state is not null;
    }

    /// <inheritdoc />
    public bool Equals(PresenceMember? other) => other is not null
        && ConnectionId == other.ConnectionId && UserId == other.UserId && State.Span.SequenceEqual(other.State.Span);

    /// <inheritdoc />
    public override bool Equals(object? obj) => Equals(obj as PresenceMember);

    /// <inheritdoc />
    public override int GetHashCode() => HashCode.Combine(ConnectionId, UserId, State.Length);

    /// <inheritdoc />
    public override string ToString() =>
        $"{nameof(ConnectionId)} = {ConnectionId}, {nameof(UserId)} = {UserId}, {nameof(State)} = {State.Length} bytes";
}
