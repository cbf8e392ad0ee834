namespace Broadcast.Middleware;

/// <summary>
/// The behavior of a publish while Redis is unreachable. See <see cref="RedisBackplaneOptions.WhenUnreachable"/>.
/// </summary>
public enum WhenUnreachable
{
    /// <summary>
    /// The message waits in the outbox until Redis is reachable. The publish fails if the outbox is full or
    /// <see cref="RedisBackplaneOptions.PublishTimeout"/> expires.
    /// </summary>
    Wait,

    /// <summary>The publish fails immediately.</summary>
    Fail,
}
