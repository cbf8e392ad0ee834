namespace Broadcast.Middleware;

/// <summary>
/// A group's cursors on one pump. Posted when the group has news; then every connection in it is given what it lacks, a chunk at
/// a time, so that a large group does not hold up the small ones.
/// </summary>
sealed class Slice(Pump pump) : PumpItem
{
    const int CursorsPerTurn = 256;

    readonly List<Cursor> _cursors = [];
    int _next;
    bool _inPass;

    public Pump Pump => pump;

    /// <summary>How many cursors it was told to expect and not yet told are gone; guarded by its group's gate.</summary>
    public int Members { get; set; }

    public void Add(Cursor cursor)
    {
        cursor.SliceIndex = _cursors.Count;
        _cursors.Add(cursor);
    }

    public void Remove(Cursor cursor)
    {
        var hole = cursor.SliceIndex;
        // The last cursor fills the hole. In the middle of a pass it has not had its turn, so behind the pass's position the last
        // one that had it goes there first.
        if (hole < _next)
        {
            _next--;
            Move(_next, hole);
            hole = _next;
        }

        if (hole < _cursors.Count - 1) Move(_cursors.Count - 1, hole);
        _cursors.RemoveAt(_cursors.Count - 1);
    }

    void Move(int from, int to)
    {
        var cursor = _cursors[from];
        _cursors[to] = cursor;
        cursor.SliceIndex = to;
    }

    /// <summary>
    /// There is one entry in the pump's queue for a pass that goes on and one for news that came since it began, whichever entry
    /// is served first.
    /// </summary>
    public override void Run(Pump _)
    {
        if (!_inPass)
        {
            ClearPosted();
            _inPass = true;
        }

        // A connection that fails leaves its slices within its turn: the bound is read anew and the position may step back.
        var end = Math.Min(_next + CursorsPerTurn, _cursors.Count);
        for (var turns = end - _next; turns > 0 && _next < _cursors.Count; turns--) _cursors[_next++].Writer.Run();

        if (_next < _cursors.Count)
        {
            Pump.Continue(this);
            return;
        }

        _next = 0;
        _inPass = false;
    }
}
