namespace Broadcast.Middleware.Redis.Publishing;

/// <summary>Limits the bytes of all messages that wait in the outbox of a node.</summary>
sealed class OutboxBudget(long maxBytes)
{
    long _used;

    public long Used => Interlocked.Read(ref _used);

    public bool TryReserve(int bytes)
    {
        if (Interlocked.Add(ref _used, bytes) <= maxBytes) return true;
        Interlocked.Add(ref _used, -bytes);
        return false;
    }

    public void Release(int bytes) => Interlocked.Add(ref _used, -bytes);
}
