namespace Broadcast.Middleware.Redis.Connections;

/// <summary>Decides whether an operation fails immediately while Redis is unreachable.</summary>
sealed class OutageCheck(RedisConnection connection, WhenUnreachable whenUnreachable)
{
    /// <summary>Returns the error of the operation, or null if the operation may wait for Redis.</summary>
    public BackplaneException? Find()
    {
        if (whenUnreachable == WhenUnreachable.Wait || connection.IsConnected) return null;
        return whenUnreachable == WhenUnreachable.Local
            ? new("Redis is unreachable. Check that Redis runs and that this node can connect to it.")
            {
                DeliverLocally = true,
            }
            : new(
                $"Redis is unreachable, and {nameof(WhenUnreachable)} is {nameof(WhenUnreachable.Fail)}. " +
                $"Restore Redis, or set {nameof(WhenUnreachable)} to {nameof(WhenUnreachable.Wait)}.");
    }
}
