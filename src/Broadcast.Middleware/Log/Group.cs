using System.Runtime.InteropServices;
using System.Security.Cryptography;

namespace Broadcast.Middleware;

/// <summary>A log and those who read it: a publish appends once, and wakes each pump that has members at most once.</summary>
sealed class Group(string name, SequenceClock clock, int capacity)
{
    readonly MessageLog _log = new(clock, capacity);
    readonly ulong _epoch = NewEpoch();
    Slice[] _slices = [];
    bool _removed;

    public string Name => name;

    /// <summary>Null if the group was removed in the meantime: look it up again.</summary>
    public Cursor? Join(ConnectionWriter writer)
    {
        Cursor cursor;
        lock (_log.Gate)
        {
            if (_removed) return null;
            var slice = SliceOf(writer.Pump);
            slice.Members++;
            cursor = new Cursor(_log, writer, slice);
            writer.Arrive(cursor);
        }

        writer.Pump.Post(writer);
        return cursor;
    }

    /// <summary>The member still gets what was published before. True if it was the last one, and the group is now removed.</summary>
    public bool Leave(Cursor cursor)
    {
        lock (_log.Gate)
        {
            cursor.LeaveHere();
            if (--cursor.Slice!.Members == 0) _slices = [.. _slices.Where(slice => slice != cursor.Slice)];
            _removed = _slices.Length == 0;
        }

        cursor.Writer.Pump.Post(cursor.Writer);
        return _removed;
    }

    /// <param name="message">Copied.</param>
    /// <param name="exclusions">Who does not get it.</param>
    /// <param name="excludedMembers">How many of them are members.</param>
    public PublishResult Publish(Message message, Exclusions? exclusions, int excludedMembers)
    {
        long offset;
        Slice[] slices;
        var members = -excludedMembers;
        lock (_log.Gate)
        {
            if (_removed) return default;
            offset = _log.Append(message, exclusions);
            slices = _slices;
            foreach (var slice in slices) members += slice.Members;
        }

        foreach (var slice in slices) slice.Pump.Post(slice);
        return new(new(_epoch, offset), Math.Max(0, members));
    }

    /// <summary>Called now and then, to free the memory of a group in which nothing happens.</summary>
    public void Rest()
    {
        Slice[] slices;
        lock (_log.Gate)
        {
            if (!_log.Rest()) return;
            slices = _slices;
        }

        // They move on to the new block, and the old one is garbage.
        foreach (var slice in slices) slice.Pump.Post(slice);
    }

    /// <summary>Gives each member's writer a turn.</summary>
    public void Wake()
    {
        Slice[] slices;
        lock (_log.Gate) slices = _slices;
        foreach (var slice in slices) slice.Pump.Post(slice);
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
