using Broadcast.Middleware.Redis.Storage;

namespace Broadcast.Middleware.Redis.Subscriptions;

/// <summary>The batches that one subscription has received but not yet delivered.</summary>
/// <remarks>
/// The inbox is bounded, so a slow receiver uses limited memory. On overflow, the inbox drops all batches and requests
/// a read of the stream. Invariant: the subscription holds its lock while it uses the inbox.
/// </remarks>
sealed class Inbox
{
    const int MaxBytes = 4 * 1024 * 1024;

    // The number of batches whose copies the inbox detects. A copy that arrives later makes the subscription read the
    // stream, so clients still receive each stored message once.
    const int MaxNewest = 64;

    readonly Queue<Batch> _batches = new();
    readonly Queue<(string Epoch, string Tag)> _newest = new();
    (string Epoch, long Offset) _lastReceived = ("", 0);
    int _bytes;
    bool _catchUpRequested;

    /// <summary>
    /// Adds a batch, but ignores a copy of a batch. Returns false if the inbox has overflowed and dropped all batches.
    /// </summary>
    /// <remarks>
    /// After a slow connect to a Redis Cluster, StackExchange.Redis can subscribe to a channel on two servers. Each
    /// batch then arrives twice.
    /// </remarks>
    public bool Add(Batch batch)
    {
        // Different batches of an epoch have different tags. After Redis has lost its data, a node may send the first
        // batch again. This batch then has the same tag in the new epoch.
        var identity = (batch.Epoch, batch.Tag);
        if (_newest.Contains(identity)) return true;
        if (_newest.Count == MaxNewest) _newest.Dequeue();
        _newest.Enqueue(identity);
        if (_bytes + batch.Body.Length > MaxBytes && _batches.Count > 0)
        {
            _batches.Clear();
            _bytes = 0;
            _catchUpRequested = true;
            return false;
        }

        // Each batch on a channel has a higher offset than the previous batch. A batch with only transient messages has
        // the offset of the previous batch. If a batch breaks this rule, Redis has returned to an older state.
        if (HasReceived(batch.Epoch, batch.Count == 0 ? batch.First : batch.Last)) _catchUpRequested = true;
        _batches.Enqueue(batch);
        _bytes += batch.Body.Length;
        _lastReceived = (batch.Epoch, batch.Last);
        return true;
    }

    /// <summary>Returns true if the channel has delivered the message with this offset, or a later message.</summary>
    public bool HasReceived(string epoch, long offset) =>
        _lastReceived.Epoch == epoch && offset <= _lastReceived.Offset;

    /// <summary>Makes the subscription read the stream before it delivers the next batch.</summary>
    public void RequestCatchUp() => _catchUpRequested = true;

    /// <summary>
    /// Takes the next batch or the request to read the stream. Returns false if the inbox has no batch and no request.
    /// </summary>
    /// <param name="batch">The next batch, unless <paramref name="catchesUp"/> is true.</param>
    /// <param name="catchesUp">True if the subscription must read the stream.</param>
    public bool TryTake(out Batch batch, out bool catchesUp)
    {
        batch = default;
        (catchesUp, _catchUpRequested) = (_catchUpRequested, false);
        if (catchesUp) return true;
        if (!_batches.TryDequeue(out batch)) return false;
        _bytes -= batch.Body.Length;
        return true;
    }

    public void Clear()
    {
        _batches.Clear();
        _bytes = 0;
    }
}
