using System.Numerics;
using Broadcast.Middleware.Messages;

namespace Broadcast.Middleware.Logs;

/// <summary>
/// The results of one subscription filter for the entries of one block. The server evaluates the filter once for all
/// entries with equal tags: see <see cref="TagSets"/>. All cursors with the same filter share the results, so any
/// thread may use this class. The results of a delegate belong to one cursor.
/// </summary>
/// <remarks>
/// This class does not reference the block, so a cursor with the results does not keep the block in memory.
/// </remarks>
sealed class FilterVerdicts(SubscriptionFilter filter, FilterVerdicts? next = null)
{
    // A block with results for every filter would need much more memory than its messages.
    const int MaxFiltersPerBlock = 32;

    readonly Lock _gate = new();
    ulong[] _accepted = new ulong[1]; // One bit for each entry.
    ulong _evaluatedSets; // One bit for each number of TagSets.
    ulong _acceptedSets;
    int _count;

    public SubscriptionFilter Filter => filter;

    public FilterVerdicts? Next => next;

    /// <summary>False if the block has results for the maximum number of filters.</summary>
    public bool AllowsMore { get; } = (next?.Number ?? 0) + 1 < MaxFiltersPerBlock;

    int Number { get; } = (next?.Number ?? 0) + 1;

    /// <summary>The first entry with a result. All later entries also have a result, until the last result.</summary>
    public int First { get; private set; }

    /// <summary>Evaluates the filter for the entries without a result.</summary>
    /// <param name="block">The block.</param>
    /// <param name="from">The first entry that needs a result.</param>
    /// <param name="to">The entry after the last entry that needs a result.</param>
    /// <returns>
    /// <paramref name="to"/>, or the first entry for which a delegate throws an exception. The caller can then handle
    /// the entries before the exception.
    /// </returns>
    /// <exception cref="SubscriptionFilterException">The delegate threw an exception for the first entry.</exception>
    public int Complete(Block block, int from, int to)
    {
        if (Volatile.Read(ref _count) >= to) return to;
        lock (_gate)
        {
            if (_accepted.Length * 64 < to) GrowLocked(to);
            var end = filter.HasDelegate ? EvaluateMessagesLocked(block, from, to) : EvaluateTagsLocked(block, to);
            if (end > _count) Volatile.Write(ref _count, end);
            return end;
        }
    }

    /// <summary>
    /// Removes all results, so that the only cursor with these results can use the object for another block.
    /// </summary>
    /// <param name="first">See <see cref="First"/>.</param>
    public void Reset(int first)
    {
        Array.Clear(_accepted);
        (_evaluatedSets, _acceptedSets, _count, First) = (0, 0, first, first);
    }

    /// <summary>True if the filter accepts an entry. Call <see cref="Complete"/> first.</summary>
    public bool Accepts(int index) => (_accepted[index / 64] >> index & 1) != 0;

    /// <summary>Finds the first accepted entry. Returns <paramref name="to"/> if the filter accepts no entry.</summary>
    public int FindAccepted(int from, int to) => Find(from, to, 0);

    /// <summary>Finds the first rejected entry. Returns <paramref name="to"/> if the filter rejects no entry.</summary>
    public int FindRejected(int from, int to) => Find(from, to, ulong.MaxValue);

    /// <summary>Finds the first bit that differs from the bits of a pattern.</summary>
    int Find(int from, int to, ulong pattern)
    {
        var words = _accepted;
        while (from < to)
        {
            var rest = (words[from / 64] ^ pattern) >> from;
            if (rest != 0) return Math.Min(to, from + BitOperations.TrailingZeroCount(rest));
            from = (from | 63) + 1;
        }

        return to;
    }

    int EvaluateTagsLocked(Block block, int to)
    {
        var sets = block.TagSets.GetNumbers(block, to);
        for (var i = _count; i < to; i++)
        {
            // Other threads may read the array element, but not this bit.
            if (AcceptsLocked(block, i, sets[i])) _accepted[i / 64] |= 1ul << i;
        }

        return to;
    }

    int EvaluateMessagesLocked(Block block, int from, int to)
    {
        // A cursor that joins or skips entries needs no results for earlier entries.
        if (from > _count) First = from;
        var i = Math.Max(from, _count);
        try
        {
            for (; i < to; i++)
            {
                var message = block.MessageOf(i);
                if (filter.Evaluate(message.Tags, message)) _accepted[i / 64] |= 1ul << i;
            }
        }
        catch (Exception exception)
        {
            if (i == from) throw new SubscriptionFilterException(exception);
        }

        return i;
    }

    bool AcceptsLocked(Block block, int index, byte set)
    {
        if (set == TagSets.None) return filter.Accepts(block[index].Metadata?.Tags);
        var bit = 1ul << set;
        if ((_evaluatedSets & bit) == 0)
        {
            _evaluatedSets |= bit;
            if (filter.Accepts(block[index].Metadata?.Tags)) _acceptedSets |= bit;
        }

        return (_acceptedSets & bit) != 0;
    }

    void GrowLocked(int count)
    {
        var larger = new ulong[Math.Max(_accepted.Length * 2, (count + 63) / 64)];
        _accepted.CopyTo(larger, 0);
        Volatile.Write(ref _accepted, larger);
    }
}
