using System.Runtime.InteropServices;
using System.Security.Cryptography;

namespace Broadcast.Middleware;

/// <summary>A log and those who read it: a publish appends once, and wakes each pump that has members at most once.</summary>
sealed class Group
{
    readonly MessageLog _log;
    Slice[] _slices = [];
    bool _isRemoved;

    public Group(string name, SequenceClock clock, LogSettings settings, TimeProvider time)
        : this(name, clock, settings, time, new(NewEpoch(), 0), null)
    {
        HasHistory = settings.History is not null;
    }

    /// <summary>One of a cluster: its log begins after a position, and whether it is still needed here is for others to say.</summary>
    public Group(string name, SequenceClock clock, LogSettings settings, TimeProvider time, Position after, ClusterGroup? clustered)
    {
        Name = name;
        Clustered = clustered;
        var history = settings.History is { } limits ? new History(limits, time) : null;
        _log = new MessageLog(clock, settings, history, after.Offset + 1) { Name = name.Length == 0 ? null : name, Epoch = after.Epoch };
    }

    public string Name { get; }

    /// <summary>Whether it stays, for the sake of what it keeps, when the last member has left.</summary>
    public bool HasHistory { get; }

    /// <summary>What it is in the cluster; null without one.</summary>
    public ClusterGroup? Clustered { get; }

    public ulong Epoch => _log.Epoch;

    public long NextOffset => _log.NextOffset;

    public int Count => Members(Volatile.Read(ref _slices));

    public bool HasMembers => Volatile.Read(ref _slices).Length > 0;

    public bool IsRemoved => Volatile.Read(ref _isRemoved);

    /// <summary>Its place among the groups that keep a history though they have no members; used by those.</summary>
    public LinkedListNode<Group>? Deserted { get; set; }

    /// <summary>Null if the group was removed in the meantime: look it up again.</summary>
    public Cursor? Join(ConnectionWriter writer, Replay replay, out bool? recovered, out Position position)
    {
        Cursor cursor;
        lock (_log.Gate)
        {
            (recovered, position) = (null, default);
            if (_isRemoved) return null;
            var (block, index) = _log.Find(replay, out recovered);
            position = new(_log.Epoch, block.FirstOffset + index - 1);
            // First: it asks the connection's protocol, which may throw.
            var options = OptionsFor(writer, (block, index), position, recovered);
            var slice = SliceOf(writer.Pump);
            slice.Members++;
            cursor = new Cursor(_log, writer, slice, options);
            writer.Arrive(cursor);
        }

        writer.Pump.Post(writer);
        return cursor;
    }

    /// <summary>The member still gets what was published before. True if it was the last one.</summary>
    public bool Leave(Cursor cursor)
    {
        bool isLast;
        lock (_log.Gate)
        {
            cursor.LeaveHere();
            if (--cursor.Slice!.Members == 0) _slices = [.. _slices.Where(slice => slice != cursor.Slice)];
            isLast = _slices.Length == 0;
            _isRemoved |= isLast && !HasHistory && Clustered is null;
        }

        cursor.Writer.Pump.Post(cursor.Writer);
        return isLast;
    }

    /// <param name="message">Copied.</param>
    /// <param name="exclusions">Who does not get it.</param>
    /// <param name="excludedMembers">How many of them are members.</param>
    /// <returns>Null if the group was removed in the meantime.</returns>
    public PublishResult? Publish(Message message, Exclusions? exclusions, int excludedMembers)
    {
        long offset;
        Slice[] slices;
        int members;
        lock (_log.Gate)
        {
            if (_isRemoved) return null;
            offset = _log.Append(message, exclusions);
            slices = _slices;
            members = Members(slices);
        }

        foreach (var slice in slices) slice.Pump.Post(slice);
        return new(new(_log.Epoch, offset), Math.Max(0, members - excludedMembers));
    }

    /// <summary>Of a cluster: appends what has been published somewhere.</summary>
    /// <param name="message">Copied.</param>
    /// <param name="exclusions">Who does not get it.</param>
    /// <param name="age">How long ago that was.</param>
    /// <param name="sharedId">The same for its copies in several groups; 0 if there are none.</param>
    /// <param name="copies">Those that have come.</param>
    public void Append(Message message, Exclusions? exclusions, TimeSpan age, long sharedId, SharedCopies copies)
    {
        Slice[] slices;
        lock (_log.Gate)
        {
            if (sharedId != 0) exclusions = Exclusions.OfCopy(exclusions, copies.Add(sharedId, Name, new(_log.Epoch, _log.NextOffset)));
            _log.Append(message, exclusions, age);
            slices = _slices;
        }

        foreach (var slice in slices) slice.Pump.Post(slice);
    }

    /// <summary>Of a cluster: what comes next is lost, and everybody is told.</summary>
    public void Break()
    {
        Slice[] slices;
        lock (_log.Gate)
        {
            _log.Break();
            slices = _slices;
            _isRemoved = true;
        }

        foreach (var slice in slices) slice.Pump.Post(slice);
    }

    /// <summary>Appends one message to several groups, under one number, so that a member of more than one of them gets it once.</summary>
    /// <param name="groups">In an order that is the same for all calls.</param>
    /// <param name="message">Copied.</param>
    /// <param name="exclusions">Who does not get it.</param>
    /// <param name="clock">Numbers it.</param>
    /// <returns>How many memberships it reaches; null if one that keeps a history was removed in the meantime.</returns>
    public static int? Publish(IReadOnlyList<Group> groups, Message message, Exclusions? exclusions, SequenceClock clock)
    {
        var shared = Exclusions.Sharing(exclusions);
        var slices = new Slice[groups.Count][];
        var (entered, members) = (0, 0);
        try
        {
            for (; entered < groups.Count; entered++) groups[entered]._log.Gate.Enter();
            if (groups.Any(static group => group is { HasHistory: true, _isRemoved: true })) return null;
            // With all gates held, every log has its numbers in order, and every member is in or out for all of them.
            var sequence = clock.Next();
            for (var i = 0; i < groups.Count; i++)
            {
                var group = groups[i];
                slices[i] = group._slices;
                members += Members(slices[i]);
                if (!group._isRemoved) group._log.Append(message, shared, sequence);
            }

        }
        finally
        {
            shared.Settle();
            while (entered > 0) groups[--entered]._log.Gate.Exit();
        }

        foreach (var slice in slices.SelectMany(slices => slices)) slice.Pump.Post(slice);
        return members;
    }

    /// <summary>Called now and then, to free the memory of a group in which nothing happens. True if the group itself has gone with it.</summary>
    public bool Rest()
    {
        Slice[] slices;
        lock (_log.Gate)
        {
            var isEmpty = _log.Expire();
            _isRemoved |= isEmpty && _slices.Length == 0 && Clustered is null;
            if (_isRemoved) return true;
            if (!_log.Rest()) return false;
            slices = _slices;
        }

        // They move on to the new block, and the old one is garbage.
        foreach (var slice in slices) slice.Pump.Post(slice);
        return false;
    }

    /// <summary>Forgets the history of a group without members. False if it has members again.</summary>
    public bool TryRemove()
    {
        lock (_log.Gate) return _isRemoved |= _slices.Length == 0;
    }

    /// <summary>Gives each member's writer a turn.</summary>
    public void Wake()
    {
        Slice[] slices;
        lock (_log.Gate) slices = _slices;
        foreach (var slice in slices) slice.Pump.Post(slice);
    }

    static int Members(Slice[] slices)
    {
        var members = 0;
        foreach (var slice in slices) members += slice.Members;
        return members;
    }

    CursorOptions? OptionsFor(ConnectionWriter writer, (Block Block, int Index) start, Position position, bool? recovered)
    {
        var connection = writer.Connection;
        var format = connection.FormatFor(Name);
        return format is null && start == _log.End && Clustered is null ? null : new CursorOptions
        {
            Format = format,
            Start = start,
            FirstOffset = position.Offset + 1,
            Bookmark = connection.BookmarkAt(_log, start),
            LiveOffset = _log.NextOffset,
            LiveByte = _log.EndByte,
            // A client hears of itself when it is let into its home group.
            Opening = Name == connection.HomeGroup ? format?.Opening(connection, position, recovered) ?? default : default,
        };
    }

    Slice SliceOf(Pump pump)
    {
        foreach (var slice in _slices)
        {
            if (slice.Pump == pump) return slice;
        }

        var added = new Slice(pump);
        _slices = [.. _slices, added];
        return added;
    }

    static ulong NewEpoch()
    {
        var epoch = 0ul;
        RandomNumberGenerator.Fill(MemoryMarshal.AsBytes(new Span<ulong>(ref epoch)));
        return epoch;
    }
}
