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
        ? AcceptsMessage(block, index)
        : filter.Accepts(block[index].Metadata?.Tags);

    /// <summary>
    /// Returns the results of the filter for the first entries of a block. Returns null for a delegate and for a
    /// compacted block. The cursor must then evaluate the filter for each entry.
    /// </summary>
    public FilterVerdicts? GetVerdicts(Block block, int count)
    {
        if (filter.HasDelegate || block.IsCompacted) return null;
        // The first offset identifies a block of the log, because no two blocks with entries have the same first
        // offset. A retained block can have the first offset of a block of the log, so negate the offset. A cursor
        // reads at most one retained block.
        var id = block.IsRetained ? -block.FirstOffset : block.FirstOffset;
        if (_verdicts is null || _verdictsBlock != id)
            (_verdictsBlock, _verdicts) = (id, block.VerdictsOf(filter) ?? GetOwnVerdicts());
        _verdicts.Complete(block, count);
        return _verdicts;
    }

    FilterVerdicts GetOwnVerdicts()
    {
        if (_ownVerdicts is null) return _ownVerdicts = new(filter);
        _ownVerdicts.Reset();
        return _ownVerdicts;
    }

    bool AcceptsMessage(Block block, int index)
    {
        var payload = block.PayloadOf(index, out var type);
        var metadata = block[index].Metadata;
        return Accepts(filter, new Message(payload, type)
        {
            Key = block.KeyOf(index),
            Tags = metadata?.Tags,
            IsJson = metadata is { IsJson: true },
        });
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
