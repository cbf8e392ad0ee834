namespace Broadcast.Middleware;

/// <summary>What becomes of a publish while Redis cannot be reached: see <see cref="RedisBackplaneOptions.WhenUnreachable"/>.</summary>
public enum WhenUnreachable
{
    /// <summary>It waits in the outbox and flows when Redis is back; it fails when the outbox is full or the time is up.</summary>
    Wait,

    /// <summary>It fails at once.</summary>
    Fail,
}
