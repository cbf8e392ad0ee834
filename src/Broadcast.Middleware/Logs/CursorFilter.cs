using Broadcast.Middleware.Messages;

namespace Broadcast.Middleware.Logs;

/// <summary>
/// The subscription filter of one cursor, and the state that only a cursor with a filter needs. Only the thread of the
/// subscriber changes the state.
/// </summary>
/// <param name="filter">The filter. Many cursors may share the filter.</param>
sealed class CursorFilter(SubscriptionFilter filter)
{
    FilterVerdicts? _verdicts;
    FilterVerdicts? _ownVerdicts;
    long _verdictsBlock;

    public SubscriptionFilter Filter => filter;

    /// <summary>
    /// The part of the filter that the subscriber has chosen. Null if the app has chosen the whole filter.
    /// </summary>
    public SubscriptionFilter? Chosen { get; init; }

    /// <summary>
    /// The offset of the last position that the client has received. Only formats with
    /// <see cref="EntryEncoder.IncludesPosition"/> send positions.
    /// </summary>
    public long ReportedOffset { get; set; }

    /// <summary>
    /// The size of the log in bytes at which the cursor may compact its backlog again. Without this limit, each turn of
    /// a slow reader would check the whole backlog.
    /// </summary>
    public long NextCompaction { get; set; }

    /// <exception cref="SubscriptionFilterException">The delegate of the filter threw an exception.</exception>
    public bool Accepts(Block block, int index) => filter.HasDelegate
        ? Accepts(filter, block.MessageOf(index))
        : filter.Accepts(block[index].Metadata?.Tags);

    /// <summary>
    /// Returns the results of the filter for entries of a block. Returns null for a compacted block, and for a delegate
    /// if the block has entries for only some members. The cursor must then evaluate the filter for each entry.
    /// </summary>
    /// <param name="block">The block.</param>
    /// <param name="from">The first entry that needs a result.</param>
    /// <param name="to">
    /// The entry after the last entry that needs a result. If the delegate of the filter throws an exception for an
    /// entry after <paramref name="from"/>, the method changes this argument to that entry. The cursor then sends the
    /// entries before the exception.
    /// </param>
    /// <exception cref="SubscriptionFilterException">
    /// The delegate of the filter threw an exception for the first entry.
    /// </exception>
    public FilterVerdicts? GetVerdicts(Block block, int from, ref int to)
    {
        // In a block with metadata, some entries may exclude the member. The delegate must not receive these entries.
        if (block.IsCompacted || (filter.HasDelegate && block.HasMetadata)) return null;
        // The first offset identifies a block of the log, because no two blocks with entries have the same first
        // offset. A retained block can have the first offset of a block of the log, so negate the offset. A cursor
        // reads at most one retained block.
        var id = block.IsRetained ? -block.FirstOffset : block.FirstOffset;
        // A cursor that goes back to its bookmark needs results for earlier entries.
        if (_verdicts is null || _verdictsBlock != id || from < _verdicts.First)
            (_verdictsBlock, _verdicts) = (id, GetSharedVerdicts(block) ?? GetOwnVerdicts(from));
        to = _verdicts.Complete(block, from, to);
        return _verdicts;
    }

    // The cursors do not share the results of a delegate. Otherwise, the block would keep the delegate and its objects
    // in memory after the connection has ended.
    FilterVerdicts? GetSharedVerdicts(Block block) => filter.HasDelegate ? null : block.VerdictsOf(filter);

    FilterVerdicts GetOwnVerdicts(int first)
    {
        _ownVerdicts ??= new(filter);
        _ownVerdicts.Reset(first);
        return _ownVerdicts;
    }

    /// <exception cref="SubscriptionFilterException">The delegate of the filter threw an exception.</exception>
    public static bool Accepts(SubscriptionFilter filter, in Message message)
    {
        try
        {
            return filter.Evaluate(message.Tags, message);
        }
        catch (Exception exception)
        {
            throw new SubscriptionFilterException(exception);
        }
    }
}
