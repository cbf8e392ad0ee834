namespace Broadcast.Middleware.Redis.Connections;

/// <summary>Fails an operation at once while Redis is unreachable, if the app has chosen so.</summary>
sealed class OutageCheck(RedisConnection connection, WhenUnreachable whenUnreachable)
{
    /// <summary>Returns the error of the operation. Null if the operation may wait for Redis.</summary>
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
