namespace Broadcast.Middleware;

/// <summary>
/// What a log keeps for those who join later: its newest messages, within limits of number, bytes and age. Guarded by the log's gate.
/// </summary>
/// <remarks>It holds the oldest block that has such a message, and through the links all after it.</remarks>
sealed class History(GroupOptions limits, TimeProvider time)
{
    readonly long _age = limits.HistoryAge == Timeout.InfiniteTimeSpan ? 0 : (long)(limits.HistoryAge.TotalSeconds * time.TimestampFrequency);
    Block? _first;
    long _newest = long.MinValue;

    public int ReplayOnJoin => limits.ReplayOnJoin;

    public long Now => time.GetTimestamp();

    /// <summary>
    /// The time with which the next message is kept that was published so long ago, by another node's clock: not before the one ahead of it, though
    /// that may come from a node whose clock is fast, for what is searched is to be in order.
    /// </summary>
    public long At(TimeSpan age) => _newest = Math.Max(_newest, age <= TimeSpan.Zero ? Now : Now - (long)(age.TotalSeconds * time.TimestampFrequency));

    /// <summary>The time of the oldest message that is not too old.</summary>
    public long Oldest => _age == 0 ? long.MinValue : Now - _age;

    /// <summary>After a message has been appended.</summary>
    public void OnAppended(Block tail)
    {
        _first ??= tail;
        Trim(tail, long.MinValue);
    }

    /// <summary>Lets go of what is too old. True if nothing is left.</summary>
    public bool Expire(Block tail)
    {
        if (_first is null) return true;
        var oldest = Oldest;
        Trim(tail, oldest);
        if (_first == tail && !HasKept(tail, tail, oldest)) _first = null;
        return _first is null;
    }

    /// <summary>The first message that is kept and has this offset or a later one; the log's end if there is none.</summary>
    /// <param name="tail">The newest block.</param>
    /// <param name="offset">The offset.</param>
    /// <param name="oldest">As <see cref="Oldest"/>, the same for all looks that are to agree.</param>
    public (Block Block, int Index) Find(Block tail, long offset, long oldest)
    {
        if (_first is null) return (tail, tail.Count);
        var block = _first;
        while (block != tail && !(HasKept(tail, block, oldest) && block.FirstOffset + block.Count > offset)) block = block.Next!;
        // Older messages fail each of the conditions before newer ones do.
        int low = 0, high = block.Count;
        while (low < high)
        {
            var middle = (low + high) / 2;
            if (block.FirstOffset + middle >= offset && IsKept(tail, block, middle, oldest)) high = middle;
            else low = middle + 1;
        }

        return (block, low);
    }

    void Trim(Block tail, long oldest)
    {
        while (_first != tail && !HasKept(tail, _first!, oldest)) _first = _first!.Next;
    }

    bool HasKept(Block tail, Block block, long oldest) => block.Count > 0 && IsKept(tail, block, block.Count - 1, oldest);

    bool IsKept(Block tail, Block block, int index, long oldest) =>
        tail.FirstOffset + tail.Count - (block.FirstOffset + index) <= limits.HistoryMessages
        && tail.FirstByte + tail.CostOf(tail.Count) - (block.FirstByte + block.CostOf(index)) <= limits.HistoryBytes
        && block[index].PublishedAt >= oldest;
}
