namespace Broadcast.Middleware.Tests.Support;

/// <summary>Shorter forms of engine calls for tests.</summary>
static class EngineExtensions
{
    public static long Append(this MessageLog log, Message message, EntryMetadata? metadata)
    {
        lock (log.Gate) return log.AppendLocked(message, metadata);
    }

    public static bool TrimIdle(this MessageLog log)
    {
        lock (log.Gate) return log.TrimIdleLocked();
    }

    public static void Break(this MessageLog log)
    {
        lock (log.Gate) log.BreakLocked();
    }

    public static (Block Block, int Index) Find(this MessageLog log, Replay replay, out bool? recovered)
    {
        lock (log.Gate) return log.FindLocked(replay, out recovered);
    }

    public static Retention.Pin Pin(this MessageLog log, Block block)
    {
        lock (log.Gate) return log.PinLocked(block);
    }

    public static void Unpin(this MessageLog log, Retention.Pin pin)
    {
        lock (log.Gate) log.UnpinLocked(pin);
    }

    public static void Leave(this Cursor cursor, MessageLog log)
    {
        lock (log.Gate) cursor.LeaveLocked();
    }

    /// <summary>Joins a group of a broadcast without a cluster. Such a join completes synchronously.</summary>
    public static JoinResult Join(this Connection connection, string group, Replay replay = default, SubscriptionFilter? filter = null)
    {
        var joining = connection.JoinAsync(group, replay, filter, CancellationToken.None).AsTask();
        Assert.True(joining.IsCompleted);
        return joining.GetAwaiter().GetResult();
    }

    /// <summary>
    /// Does what the endpoint does after the loss of a transport. After this method, call <c>WaitAsync</c> of the
    /// session.
    /// </summary>
    public static Task SuspendAsync(this Connection connection)
    {
        connection.Detach();
        return connection.Writer.SuspendAsync();
    }

    public static Task<bool> WaitAsync(this ReconnectSession session) => session.WaitAsync(null);

    public static Task<bool> ReattachAsync(this Connection connection, FakeRequest request, Sink sink, string token)
    {
        var facts = new ConnectionRequest(
            request, connection.HomeGroup, connection.UserId, null, null, null, null, connection.Format,
            connection.Settings);
        return connection.ReattachAsync(facts, sink, token);
    }
}
