using System.Collections.Concurrent;

namespace Broadcast.Middleware.Tests.Support;

/// <summary>A broadcast with its own pumps. Its publishers record the position of each message.</summary>
sealed class StressBroadcast : IDisposable
{
    readonly ConcurrentBag<Publisher> _publishers = [];
    readonly List<(Connection Connection, StressSink Sink)> _members = [];
    int _lastPublisher;
    int _seed;

    public StressBroadcast(int maxBacklog)
    {
        var options = new BroadcastOptions { MaxBacklogBytes = maxBacklog, CloseTimeout = TimeSpan.FromHours(1) };
        Broadcaster = TestEngine.CreateBroadcaster(options, new ConnectionRegistry(), TimeProvider.System);
    }

    public TestBroadcaster Broadcaster { get; }

    public IReadOnlyList<(Connection Connection, StressSink Sink)> Members => _members;

    public long Published => _publishers.Sum(publisher => publisher.Recipients);

    public (Connection Connection, StressSink Sink) Connect(string home, Pace pace)
    {
        var sink = new StressSink(pace, ++_seed);
        var connection = Broadcaster.Admit(new FakeRequest(), home);
        connection.Writer.Open(sink);
        Assert.True(Broadcaster.AttachAsync(connection).AsTask().IsCompletedSuccessfully);
        _members.Add((connection, sink));
        return (connection, sink);
    }

    public Publisher NewPublisher()
    {
        var publisher = new Publisher(Broadcaster, Interlocked.Increment(ref _lastPublisher));
        _publishers.Add(publisher);
        return publisher;
    }

    /// <summary>Returns the entry of each message, by message ID.</summary>
    public Dictionary<long, Entry> Ledger() => _publishers.SelectMany(publisher => publisher.Ledger).ToDictionary(entry => entry.Id);

    public async Task WaitForDeliveryAsync() =>
        await Eventually.True(() => _members.Sum(member => (long)member.Sink.Count) >= Published, TimeSpan.FromSeconds(60) * Effort.Factor);

    public async Task DisconnectAllAsync()
    {
        foreach (var (connection, _) in _members)
        {
            Broadcaster.Remove(connection);
            await connection.Writer.DetachAsync().WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
        }

        Assert.Equal(0, Broadcaster.Groups.Count);
        Assert.Equal(0, Broadcaster.Connections.Count);
        foreach (var (connection, sink) in _members)
        {
            Assert.Null(sink.Violation);
            Assert.Equal(0, connection.Writer.Pump.Connections);
        }
    }

    public void Dispose() => Broadcaster.Dispose();

    public static Task Start(Action action) =>
        Task.Factory.StartNew(action, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);

    public readonly record struct Entry(long Id, string? Group, ulong Epoch, long Offset, int Recipients);

    /// <summary>A publisher for one thread. A message ID consists of the publisher's number and a counter.</summary>
    public sealed class Publisher(TestBroadcaster broadcaster, int number)
    {
        readonly byte[] _payload = new byte[64];
        int _last;

        public List<Entry> Ledger { get; } = [];

        public long Recipients { get; private set; }

        public Entry Publish(string group) => Publish(Middleware.Recipients.Group(group), group);

        public Entry PublishToAll() => Publish(Middleware.Recipients.All, "");

        public Entry Send(string connectionId) => Publish(Middleware.Recipients.Connection(connectionId), null);

        Entry Publish(Recipients recipients, string? group)
        {
            var id = ((long)number << 32) | (uint)++_last;
            BitConverter.TryWriteBytes(_payload, id);
            var length = 8 + (_last % 57);
            var result = broadcaster.Publish(new(_payload.AsMemory(0, length), MessageType.Binary), recipients);
            var position = result.Position.GetValueOrDefault();
            var entry = new Entry(id, group, position.Epoch, position.Offset, result.LocalRecipients);
            Ledger.Add(entry);
            Recipients += result.LocalRecipients;
            return entry;
        }
    }
}
