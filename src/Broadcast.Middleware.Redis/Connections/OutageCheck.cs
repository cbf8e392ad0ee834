namespace Broadcast.Middleware.Redis.Connections;

/// <summary>Decides whether an operation fails immediately while Redis is unreachable.</summary>
sealed class OutageCheck(RedisConnection connection, WhenUnreachable whenUnreachable)
{
    /// <summary>
    /// Waits for the first attempt to connect, unless the operation may wait for Redis. Then returns the result of
    /// <see cref="Find"/>. If the attempt still runs at the deadline, this method returns null.
    /// </summary>
    public async Task<BackplaneException?> FindAsync(
        string group, long deadline, CancellationToken cancellationToken = default)
    {
        if (whenUnreachable != WhenUnreachable.Wait)
            await connection.WaitForFirstAttemptAsync(deadline, cancellationToken);
        return Find(group);
    }

    /// <summary>
    /// Returns the error for an operation on a group. Returns null if Redis is reachable, or if the operation may wait
    /// for Redis. This method also returns null while the first attempt to connect runs, because this attempt may
    /// succeed.
    /// </summary>
    public BackplaneException? Find(string group)
    {
        if (whenUnreachable == WhenUnreachable.Wait || connection.IsConnected(group)) return null;
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
