namespace Broadcast.Middleware.Logs;

/// <summary>
/// Keeps the newest messages of a log for later readers, up to a maximum number, size and age. The lock of the log
/// guards this class.
/// </summary>
/// <remarks>
/// This class references the oldest block with a kept message. The links of the blocks keep the newer blocks in memory.
/// </remarks>
sealed class LogHistory(GroupOptions limits, TimeProvider time)
{
    readonly long _maxAge = limits.HistoryAge == Timeout.InfiniteTimeSpan
        ? 0
        : time.ToTimestampDifference(limits.HistoryAge);

    Block? _first;
    long _newest = long.MinValue;

    public int ReplayOnJoin => limits.ReplayOnJoin;

    public long Now => time.GetTimestamp();

    /// <summary>Returns the publish time for the next message.</summary>
    /// <remarks>
    /// The age comes from the clock of another node, so the times of two messages may be out of order. The result is
    /// never earlier than the previous result, because the binary search in <see cref="Find"/> needs ordered times.
    /// </remarks>
    public long PublishTime(TimeSpan age)
    {
        var publishedAt = age <= TimeSpan.Zero ? Now : Now - time.ToTimestampDifference(age);
        return _newest = Math.Max(_newest, publishedAt);
    }

    /// <summary>The oldest publish time that the history keeps.</summary>
    public long Oldest => _maxAge == 0 ? long.MinValue : Now - _maxAge;

    /// <summary>
    /// Adds the newest message and removes messages above the limits. Call this method after each append.
    /// </summary>
    public void OnAppended(Block tail)
    {
        _first ??= tail;
        Trim(tail, long.MinValue);
    }

    /// <summary>Removes messages that are too old. Returns true if the history is empty afterwards.</summary>
    public bool Expire(Block tail)
    {
        if (_first is null) return true;
        var oldest = Oldest;
        Trim(tail, oldest);
        if (_first == tail && !HasKept(tail, tail, oldest)) _first = null;
        return _first is null;
    }

    /// <summary>
    /// Finds the first kept message at or after an offset. Returns the end of the log if the history has no such
    /// message.
    /// </summary>
    /// <param name="tail">The newest block.</param>
    /// <param name="offset">The offset.</param>
    /// <param name="oldest">
    /// A value of <see cref="Oldest"/>. Pass the same value to searches whose results must be consistent.
    /// </param>
    public (Block Block, int Index) Find(Block tail, long offset, long oldest)
    {
        if (_first is null) return (tail, tail.Count);
        var block = _first;
        while (block != tail && !(HasKept(tail, block, oldest) && block.FirstOffset + block.Count > offset))
            block = block.Next!;
        // This loop is a binary search. A condition that fails for a message also fails for every older message.
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

    bool HasKept(Block tail, Block block, long oldest) =>
        block.Count > 0 && IsKept(tail, block, block.Count - 1, oldest);

    bool IsKept(Block tail, Block block, int index, long oldest) =>
        tail.FirstOffset + tail.Count - (block.FirstOffset + index) <= limits.HistoryMessages
        && tail.FirstByte + tail.CostOf(tail.Count) - (block.FirstByte + block.CostOf(index)) <= limits.HistoryBytes
        && block[index].PublishedAt >= oldest;
}
