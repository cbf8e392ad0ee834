using Broadcast.Middleware.Logs;

namespace Broadcast.Middleware.Delivery;

/// <summary>
/// The cursors of a shard in the log of transient messages. The shard visits their subscribers through the cursors of
/// the main log, so this set only tracks cursors.
/// </summary>
/// <param name="shard">The shard of the group.</param>
sealed class TransientCursors(GroupShard shard) : ICursorSet
{
    public ICursorSet ForTransientLog => this;

    public void Add(Cursor cursor)
    {
    }

    public void Remove(Cursor cursor) => shard.Untrack(cursor);

    public void TrackLocked(Cursor cursor) => shard.TrackLocked(cursor);

    public void ActivateAnnounced() => shard.ActivateAnnounced();
}
