namespace Broadcast.Middleware.Tests.Logs;

/// <summary>
/// A model of logs with one reader. The model records published messages, received messages and the number of dropped
/// messages.
/// </summary>
sealed class LogModel
{
    static readonly IdleSubscriber Reading = new();

    readonly List<(int Number, int Log, string? Key, int Size, bool IsForReader)> _published = [];
    readonly SequenceClock _clock = new();
    readonly RunBuffer _buffer = new();
    readonly MessageLog[] _logs;
    readonly Cursor[] _cursors;
    readonly bool[] _hasLeft;
    readonly bool _isFiltered;

    public LogModel(int logs, int capacity, SlowConsumer whenSlow = SlowConsumer.Conflate, SubscriptionFilter? filter = null)
    {
        Reader = new(_clock);
        _isFiltered = filter is not null;
        _logs = [.. Enumerable.Range(0, logs).Select(_ => TestLog.Create(_clock, capacity, whenSlow))];
        _cursors = [.. _logs.Select(log =>
        {
            lock (log.Gate)
            {
                var options = filter is null ? null : new CursorOptions { Filter = new(filter) };
                var cursor = new Cursor(log, Reading, new IdleCursorSet(), options);
                Reader.Add(cursor);
                return cursor;
            }
        })];
        _hasLeft = new bool[logs];
    }

    public LogReader Reader { get; }

    public List<int> Got { get; } = [];

    public long LeftOut { get; set; }

    public void Publish(int log, string? key, int size, bool isForReader = true, MessageTags? tags = null)
    {
        var number = _published.Count;
        var payload = Numbered.Make(number, size);
        var message = new Message(payload, MessageType.Binary) { Key = key, Tags = tags };
        var metadata = EntryMetadata.Create(message, isForReader || _isFiltered ? null : new ExcludedConnections(Reading.Id));
        _logs[log].Append(message, metadata);
        _published.Add((number, log, key, Frame.Size(payload.Length), isForReader && !_hasLeft[log]));
    }

    /// <summary>Takes the next run of messages. Returns false if no message was waiting.</summary>
    public bool Take(long lastSequence = long.MaxValue)
    {
        var isThere = Reader.TryTake(lastSequence, out var run, buffer: _buffer);
        for (var frames = run.Frames; !frames.IsEmpty;) Got.Add(Numbered.Read(Frame.Next(ref frames, out _).ToArray()));
        return isThere;
    }

    public void TakeAll()
    {
        while (Take()) { }
    }

    public void Leave(int log)
    {
        lock (_logs[log].Gate) _cursors[log].LeaveLocked();
        _hasLeft[log] = true;
    }

    /// <summary>Compacts the messages of the reader, as the writer of a stalled reader does at the backlog limit.</summary>
    public bool TryCompact(long bytes, int largest, long lastSequence = long.MaxValue)
    {
        if (!Reader.TryCatchUp(bytes, lastSequence, largest, out _, out var leftOut)) return false;
        LeftOut += leftOut;
        return true;
    }

    /// <summary>Compacts the accepted messages, as the writer of a stalled reader with a filter does at half of the backlog limit.</summary>
    public void CompactAccepted()
    {
        foreach (var cursor in Reader.AdmitCursors())
        {
            if (cursor is { HasMissed: false }) cursor.CompactAccepted(long.MaxValue, 1 << 30, maxBacklog: 0);
        }
    }

    /// <summary>
    /// Asserts that the reader has received the newest message for the reader from each log. A log may drop this
    /// message if the later messages exceed the capacity of the log.
    /// </summary>
    public void AssertGotNewest(int capacity = int.MaxValue)
    {
        foreach (var log in ForReader().GroupBy(message => message.Log))
        {
            var newest = log.Last().Number;
            var later = _published.Where(message => message.Log == log.Key && message.Number > newest);
            if (later.Sum(message => (long)message.Size + Block.EntrySize) <= capacity) Assert.Contains(newest, Got);
        }
    }

    /// <summary>Trims the log twice, as two heartbeats of an idle group do.</summary>
    public void TrimIdle(int log)
    {
        _logs[log].TrimIdle();
        _logs[log].TrimIdle();
    }

    public void Skip(long bytes)
    {
        Assert.True(Reader.TryCatchUp(bytes, long.MaxValue, 0, out var leftOut, out _));
        LeftOut += leftOut;
    }

    /// <summary>The number of unread bytes in a log, without replaced messages.</summary>
    public int Waiting(int log)
    {
        var waiting = ForReader().Where(message => message.Log == log && (Got is [] || message.Number > Got[^1])).ToList();
        return waiting.Where(message => message.Key is null || waiting.Last(other => other.Key == message.Key) == message).Sum(message => message.Size);
    }

    /// <summary>Asserts that the messages are in order without duplicates, and that the reader counted the missing messages.</summary>
    public void AssertCounted()
    {
        Assert.Equal(Got, Got.Order().Distinct());
        Assert.Empty(Got.Except(ForReader().Select(message => message.Number)));
        Assert.Equal(ForReader().Count() - Got.Count, LeftOut);
    }

    /// <summary>
    /// Asserts that the messages are in order without duplicates, that the reader counted the missing messages, and
    /// that newer messages replaced them.
    /// </summary>
    public void AssertConflated()
    {
        AssertCounted();
        var got = Got.ToHashSet();
        foreach (var key in ForReader().GroupBy(message => (message.Log, message.Key)))
        {
            if (key.Key.Key is null) Assert.All(key, message => Assert.Contains(message.Number, got));
            else Assert.Contains(key.Last().Number, got);
        }
    }

    public void AssertGotAll() => Assert.Equal(ForReader().Select(message => message.Number), Got);

    IEnumerable<(int Number, int Log, string? Key, int Size, bool IsForReader)> ForReader() => _published.Where(message => message.IsForReader);
}
