namespace Broadcast.Middleware.Tests.Support;

/// <summary>A set that never visits its cursors. The test reads the cursors.</summary>
sealed class IdleCursorSet : ICursorSet
{
    public ICursorSet ForTransientLog => this;

    public void Add(Cursor cursor) { }

    public void Remove(Cursor cursor) { }

    public void TrackLocked(Cursor cursor) { }

    public void ActivateAnnounced() { }
}
