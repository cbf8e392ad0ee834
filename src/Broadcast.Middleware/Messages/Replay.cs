namespace Broadcast.Middleware;

/// <summary>Selects the part of a group's history that a connection receives when it joins.</summary>
/// <remarks>
/// The default value selects the newest messages. <see cref="GroupOptions.ReplayOnJoin"/> sets their number. If the
/// group retains messages, the connection receives the retained messages first: see
/// <see cref="GroupOptions.RetainLatestPerKey"/>.
/// </remarks>
public readonly struct Replay : IEquatable<Replay>
{
    readonly int? _messages;

    Replay(int? messages, Position? position) => (_messages, AfterPosition) = (messages, position);

    /// <summary>
    /// Selects no history and no retained values. The connection receives only messages that are published after the
    /// join.
    /// </summary>
    public static Replay None => new(0, null);

    internal Position? AfterPosition { get; }

    /// <summary>Selects the newest messages of the history.</summary>
    /// <param name="messages">
    /// The maximum number of messages, 0 or more. The value 0 is the same as <see cref="None"/>.
    /// </param>
    /// <exception cref="ArgumentOutOfRangeException">The number is negative.</exception>
    public static Replay Last(int messages)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(messages);
        return new(messages, null);
    }

    /// <summary>
    /// Selects every message after a position. The recovery fails if the group no longer has all of these messages, or
    /// if the position belongs to another group or epoch. <see cref="JoinResult.Recovered"/> is then false, and the
    /// connection receives the same history and retained values as a new member.
    /// </summary>
    /// <param name="position">The position of the last message that the client has.</param>
    public static Replay After(Position position) => new(null, position);

    internal int MessagesOr(int groupDefault) => _messages ?? groupDefault;

    /// <inheritdoc />
    public bool Equals(Replay other) => _messages == other._messages && AfterPosition == other.AfterPosition;

    /// <inheritdoc />
    public override bool Equals(object? obj) => obj is Replay other && Equals(other);

    /// <inheritdoc />
    public override int GetHashCode() => HashCode.Combine(_messages, AfterPosition);

    /// <inheritdoc />
    public override string ToString() => AfterPosition is { } position ? $"after {position}"
        : _messages is { } messages ? $"last {messages}" : "group default";

    /// <summary>True if both values select the same messages.</summary>
    public static bool operator ==(Replay left, Replay right) => left.Equals(right);

    /// <summary>True if the values select different messages.</summary>
    public static bool operator !=(Replay left, Replay right) => !left.Equals(right);
}
