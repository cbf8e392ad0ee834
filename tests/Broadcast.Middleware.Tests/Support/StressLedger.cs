using System.Collections.Concurrent;

namespace Broadcast.Middleware.Tests.Support;

/// <summary>The connections and publishers of a stress test. The publishers record the position of each message.</summary>
sealed class StressLedger(TestEngine broadcast)
{
    readonly ConcurrentBag<Publisher> _publishers = [];
    readonly List<(Connection Connection, StressSink Sink)> _members = [];
    int _lastPublisher;
    int _seed;

    public IReadOnlyList<(Connection Connection, StressSink Sink)> Members => _members;

    public long Published => _publishers.Sum(publisher => publisher.Recipients);

    public (Connection Connection, StressSink Sink) Connect(string home, Pace pace)
    {
        var sink = new StressSink(pace, ++_seed);
        var connection = broadcast.Connect(null, home, sink);
        _members.Add((connection, sink));
        return (connection, sink);
    }

    public Publisher NewPublisher()
    {
        var publisher = new Publisher(broadcast, Interlocked.Increment(ref _lastPublisher));
        _publishers.Add(publisher);
        return publisher;
    }

    /// <summary>Returns the entry of each message, by message ID.</summary>
    public Dictionary<long, Entry> Ledger() => _publishers.SelectMany(publisher => publisher.Ledger).ToDictionary(entry => entry.Id);

    public async Task WaitForDeliveryAsync() =>
        await Eventually.True(() => _members.Sum(member => (long)member.Sink.Count) >= Published, TimeSpan.FromSeconds(60) * Effort.Factor);

    public async Task DisconnectAllAsync()
    {
        foreach (var (connection, _) in _members) await broadcast.DisconnectAsync(connection);
        Assert.Equal(0, broadcast.Groups.Count);
        Assert.Equal(0, broadcast.Connections.Count);
        foreach (var (connection, sink) in _members)
        {
            Assert.Null(sink.Violation);
            Assert.Equal(0, connection.Writer.Pump.Connections);
        }
    }

    public readonly record struct Entry(long Id, string? Group, ulong Epoch, long Offset, int Recipients);

    /// <summary>A publisher for one thread. A message ID consists of the publisher's number and a counter.</summary>
    public sealed class Publisher(TestEngine broadcast, int number)
    {
        readonly byte[] _payload = new byte[64];
        int _last;

        public List<Entry> Ledger { get; } = [];

        public long Recipients { get; private set; }

        public Entry Publish(string group) => Publish(Middleware.Recipients.Group(group), group);

        public Entry PublishToAll() => Publish(Middleware.Recipients.Everyone, "");

        public Entry Send(string connectionId) => Publish(Middleware.Recipients.Connection(connectionId), null);

        Entry Publish(Recipients recipients, string? group)
        {
            var id = ((long)number << 32) | (uint)++_last;
            BitConverter.TryWriteBytes(_payload, id);
            var length = 8 + (_last % 57);
            var result = broadcast.Publish(new(_payload.AsMemory(0, length), MessageType.Binary), recipients);
            var position = result.Position.GetValueOrDefault();
            var entry = new Entry(id, group, position.Epoch, position.Offset, result.LocalRecipients);
            Ledger.Add(entry);
            Recipients += result.LocalRecipients;
            return entry;
        }
    }
}
