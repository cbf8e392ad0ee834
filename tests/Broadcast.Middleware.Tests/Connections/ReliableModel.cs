
namespace Broadcast.Middleware.Tests.Connections;

enum ReliableStep
{
    Publish,
    PublishToSeveral,
    PublishToAll,
    PublishTransient,
    SendTransient,
    Send,
    Answer,
    Join,
    Leave,
    Connect,
    End,
    Acknowledge,
    CompleteWrite,
    SetMode,
    Cut,
    Notice,
    Resume,
    RunTurn,
    Beat,
}

/// <summary>The limits of a broadcast in the model.</summary>
/// <param name="Backlog">See <see cref="BroadcastOptions.MaxBacklogBytes"/>.</param>
/// <param name="Unacknowledged">See <see cref="BroadcastOptions.MaxUnacknowledgedBytes"/>.</param>
/// <param name="Messages">See <see cref="BroadcastOptions.MaxUnacknowledgedMessages"/>.</param>
/// <param name="Total">See <see cref="BroadcastOptions.MaxTotalUnacknowledgedBytes"/>.</param>
/// <param name="WritesMayWait">True when readers may be slow.</param>
/// <param name="HasHistory">
/// True when one group replays its history to new members, and two groups send their retained values.
/// </param>
sealed record ReliableLimits(int Backlog, int Unacknowledged, int Messages, long Total, bool WritesMayWait, bool HasHistory)
{
    public static ReliableLimits None { get; } = new(64 << 20, 64 << 20, 1_000_000, 1L << 30, true, true);
}

/// <summary>
/// Runs a schedule on one thread against a real broadcast whose clients disconnect and reconnect. The model lists the
/// messages that each client must receive.
/// </summary>
sealed class ReliableModel : IDisposable
{
    const string Everyone = "", History = "/h", Conflated = "/c", Skipping = "/s", Retaining = "/r";
    const int Replayed = 4;
    const int Keys = 3;
    static readonly string[] _names = ["/a", "/b", History, Conflated, Skipping, Retaining];

    readonly ReliableLimits _limits;
    readonly TestEngine _broadcast;
    readonly List<Peer> _peers = [];
    readonly List<(int Id, Peer? Excluded)> _history = [];
    readonly List<(int Id, Peer? Excluded)> _conflated = [];
    readonly Dictionary<(string Name, string Key), (int Id, Peer? Excluded)> _retained = [];
    readonly Dictionary<int, long> _sequences = [];
    int _lastId;

    public ReliableModel(int pumps, ReliableLimits limits)
    {
        _limits = limits;
        _broadcast = new(pumps, limits.Backlog, configure: options =>
        {
            options.MaxUnacknowledgedBytes = limits.Unacknowledged;
            options.MaxUnacknowledgedMessages = limits.Messages;
            options.MaxTotalUnacknowledgedBytes = limits.Total;
            options.RecoveryTimeout = TimeSpan.FromHours(1);
            (options.KeepAliveInterval, options.SendTimeout) = (Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
            if (limits.HasHistory) options.Groups[History] = new() { HistoryMessages = 50, HistoryBytes = 1 << 20, HistoryAge = Timeout.InfiniteTimeSpan, ReplayOnJoin = Replayed };
            options.Groups[Conflated] = new() { SlowConsumer = SlowConsumer.Conflate, RetainLatestPerKey = limits.HasHistory, MaxRetainedBytes = 1 << 26 };
            options.Groups[Retaining] = new() { RetainLatestPerKey = limits.HasHistory };
            options.Groups[Skipping] = new() { SlowConsumer = SlowConsumer.SkipToLatest };
        });
    }

    public int Resumed { get; private set; }

    public int Refused { get; private set; }

    /// <summary>The number of refused clients that received messages without IDs and have acknowledged no later message.</summary>
    public int RefusedForHistory { get; private set; }

    /// <summary>The number of clients that the server disconnected as slow consumers.</summary>
    public int Slow { get; private set; }

    public int Dropped => _peers.Sum(peer => peer.Client.Dropped);

    /// <summary>The number of transient messages that clients received.</summary>
    public int Transient => _peers.Sum(peer => peer.Client.Got.Count(peer.Transient.ContainsKey));

    /// <summary>The number of transient messages that clients did not receive.</summary>
    public int MissedTransient => _peers.Sum(peer => peer.Transient.Keys.Except(peer.Client.Got).Count());

    /// <summary>The number of retained values that clients received when they joined.</summary>
    public int RetainedOnJoin { get; private set; }

    public int WithoutId => _peers.Sum(peer => peer.Client.WithoutId.Count);

    long Retained => _broadcast.Groups.GetSettings("").Budget!.Used;

    IEnumerable<Peer> Living => _peers.Where(peer => peer.State != State.Ended);

    public void Run(IEnumerable<Operation<ReliableStep>> operations)
    {
        foreach (var operation in operations)
        {
            Run(operation);
            Assert.True(Retained >= 0, "The retained size is negative.");
        }

        Finish();
    }

    public void Dispose() => _broadcast.Dispose();

    void Run(Operation<ReliableStep> operation)
    {
        var (step, a, b, c, size) = operation;
        var name = _names[a % _names.Length];
        var peer = _peers.Count == 0 ? null : _peers[b % _peers.Count];
        if (peer is { State: State.Ended } && step != ReliableStep.Publish) peer = null;
        switch (step)
        {
            case ReliableStep.Publish:
                Publish(Recipients.Group(name), [name], c % 5 == 0 ? peer : null, size);
                break;
            case ReliableStep.PublishToSeveral:
                Publish(Recipients.Groups("/a", "/b"), ["/a", "/b"], c % 5 == 0 ? peer : null, size);
                break;
            case ReliableStep.PublishToAll:
                Publish(Recipients.Everyone, [Everyone], null, size);
                break;
            case ReliableStep.PublishTransient:
                PublishTransient(c % 3 == 0 ? Everyone : name, c % 5 == 0 ? peer : null, size);
                break;
            case ReliableStep.SendTransient when peer is not null:
                Send(peer, ReliableReceiver.Numbered(++_lastId, Math.Min(size, _limits.Backlog / 2)) with { IsTransient = true });
                peer.Transient[_lastId] = "";
                break;
            case ReliableStep.Send when peer is not null:
                Send(peer, ReliableReceiver.Numbered(++_lastId, Math.Min(size, _limits.Backlog / 2)));
                peer.Expect(_lastId);
                break;
            case ReliableStep.Answer when peer is not null:
                Send(peer, ReliableReceiver.Answer(++_lastId));
                peer.Answers.Add(_lastId);
                break;
            case ReliableStep.Join when peer is not null:
                Join(peer, name, ModelFilter.Choose(size));
                break;
            case ReliableStep.Leave when peer is not null:
                if (peer.Groups.Remove(name)) Assert.True(peer.Connection.Leave(name));
                break;
            case ReliableStep.Connect when Living.Count() < 6:
                Connect(_broadcast.Pumps[b % _broadcast.Pumps.Length], "/home", c);
                break;
            case ReliableStep.End when peer is { State: State.Online } && c == 0:
                End(peer);
                break;
            case ReliableStep.Acknowledge when peer is { State: State.Online, IsCut: false } && peer.Client.LastId > 0:
                peer.Acknowledged = Math.Max(peer.Acknowledged, peer.Client.LastId);
                peer.Connection.Writer.OnAcknowledged(peer.Client.LastId);
                break;
            case ReliableStep.CompleteWrite when peer is not null:
                peer.Sink.CompleteWrite();
                break;
            case ReliableStep.SetMode when peer is not null && _limits.WritesMayWait:
                peer.Sink.Mode = (WriteMode)(c % 2);
                break;
            case ReliableStep.Cut when peer is { State: State.Online, IsCut: false }:
                peer.WasCut = true;
                (peer.IsCut, peer.StillArrive) = (true, c % 4 == 0 ? a : 0);
                break;
            case ReliableStep.Notice when peer is { State: State.Online, IsCut: true }:
                Notice(peer, c % 2 == 0);
                break;
            case ReliableStep.Resume when peer is not null:
                Resume(peer);
                break;
            case ReliableStep.RunTurn:
                _broadcast.Pumps[a % _broadcast.Pumps.Length].RunTurn();
                break;
            case ReliableStep.Beat:
                _broadcast.Beat();
                break;
        }

        foreach (var living in Living.ToList()) Follow(living);
    }

    void Publish(Recipients recipients, string[] names, Peer? excluded, int size)
    {
        size = Math.Min(size, _limits.Backlog / 2);
        // Small messages keep the retained values below the size at which joins may share an older copy.
        if (names[0] == Retaining) size = Math.Min(size, 1_000);
        var id = ++_lastId;
        if (excluded is not null) recipients = recipients.Except(excluded.Connection.Id);
        var key = names[0] is Conflated or Retaining ? $"key {id % Keys}" : null;
        var removes = names[0] == Retaining && id % 11 == 0;
        var message = ReliableReceiver.Numbered(id, size, key) with { RemoveKey = removes, Tags = ModelFilter.TagsOf(id) };
        _broadcast.Publish(message, recipients);
        _sequences[id] = _broadcast.Clock.Last;
        if (names[0] == Conflated) _conflated.Add((id, excluded));
        if (removes) _retained.Remove((names[0], key!));
        else if (key is not null && _limits.HasHistory) _retained[(names[0], key)] = (id, excluded);
        if (names[0] == History && _limits.HasHistory) _history.Add((id, excluded));
        foreach (var peer in Living.Where(peer => peer != excluded && names.Any(name => peer.Receives(name, id))))
        {
            if (names[0] == Conflated) peer.Lossy[id] = $"key {id % Keys}";
            else if (names[0] == Skipping) peer.Lossy[id] = Skipping;
            else peer.Expect(id);
        }
    }

    void PublishTransient(string name, Peer? excluded, int size)
    {
        // The log does not keep transient messages for acknowledgements. If the pumps did not run, the log could drop
        // these messages above the backlog limit. The server would then close the client as slow.
        if (!_limits.WritesMayWait) _broadcast.RunUntilIdle();
        var recipients = name == Everyone ? Recipients.Everyone : Recipients.Group(name);
        if (excluded is not null) recipients = recipients.Except(excluded.Connection.Id);
        var message = ReliableReceiver.Numbered(++_lastId, Math.Min(size, _limits.Backlog / 2)) with { IsTransient = true };
        _broadcast.Publish(message with { Tags = ModelFilter.TagsOf(_lastId) }, recipients);
        _sequences[_lastId] = _broadcast.Clock.Last;
        foreach (var peer in Living.Where(peer => peer != excluded && peer.Receives(name, _lastId))) peer.Transient[_lastId] = name;
    }

    void Send(Peer peer, Message message)
    {
        _broadcast.Publish(message, Recipients.Connection(peer.Connection.Id));
        _sequences[_lastId] = _broadcast.Clock.Last;
    }

    void Join(Peer peer, string name, ModelFilter filter)
    {
        if (!peer.Groups.Add(name)) return;
        peer.Filters[name] = filter;
        Assert.True(peer.Connection.Join(name, filter: filter.Filter).Joined);
        // A client may share an older copy of large retained values. The client then also receives the messages after
        // this copy.
        foreach (var (id, excluded) in name == Conflated && _limits.HasHistory ? _conflated : [])
        {
            if (excluded != peer && filter.Accepts(id)) peer.MayReplay(id);
        }

        foreach (var ((_, key), (id, excluded)) in _retained.Where(retained => retained.Key.Name == name))
        {
            if (excluded == peer || !filter.Accepts(id)) continue;
            RetainedOnJoin++;
            if (name == Conflated) peer.Lossy[id] = key;
            else peer.Expect(id);
            peer.Replays.Add(id);
        }

        if (name != History || !_limits.HasHistory) return;
        foreach (var (id, excluded) in _history.TakeLast(Replayed))
        {
            if (excluded == peer || !filter.Accepts(id)) continue;
            peer.Expect(id);
            peer.Replays.Add(id);
        }
    }

    void Connect(ManualPump pump, string home, int how)
    {
        var peer = new Peer(_sequences);
        _peers.Add(peer);
        peer.NewTransport(_limits.WritesMayWait && how % 2 == 1 ? WriteMode.Later : WriteMode.AtOnce);
        var filter = ModelFilter.Choose(how);
        peer.Connection = _broadcast.Connect(pump, home, peer.Sink, protocol: ReliableReceiver.Protocol, filter: filter.Filter);
        (peer.Filters[home], peer.Filters[Everyone]) = (filter, filter);
        peer.Token = peer.Connection.Session!.FirstToken;
        peer.Groups.UnionWith([home, Everyone]);
        Follow(peer);
    }

    /// <summary>Suspends the connection, as the endpoint does when it detects a disconnect.</summary>
    static void Notice(Peer peer, bool writeFails)
    {
        peer.State = State.Suspending;
        peer.Change = peer.Connection.SuspendAsync();
        // The disconnect also ends a pending write. The write completes or fails.
        if (writeFails) peer.Sink.FailWrite();
        else peer.Sink.CompleteWrite();
        peer.Sink.Mode = WriteMode.AtOnce;
    }

    void Resume(Peer peer)
    {
        if (peer.State != State.Waiting) return;
        if (peer.Connection.Session!.ClaimAsync(peer.Token) is not { IsCompletedSuccessfully: true, Result: { } token })
        {
            Refuse(peer);
            return;
        }

        peer.Token = token;
        peer.NewTransport(WriteMode.AtOnce);
        peer.State = State.Resuming;
        peer.Change = peer.Connection.ReattachAsync(new FakeRequest(), peer.Sink, token);
        Assert.True(Soon(peer.Wait!));
    }

    /// <summary>Applies the state changes that need no step of the schedule.</summary>
    void Follow(Peer peer)
    {
        if (peer.Connection.Writer.ClosingStatus is { } status)
        {
            Assert.Equal(CloseStatus.TryAgainLater, status);
            Slow++;
            End(peer);
            return;
        }

        if (peer.Change is not { IsCompleted: true } change) return;
        peer.Change = null;
        switch (peer.State)
        {
            case State.Suspending:
                peer.State = State.Waiting;
                peer.Wait = peer.Connection.Session!.WaitAsync();
                break;
            case State.Resuming when ((Task<bool>)change).Result:
                Resumed++;
                peer.State = State.Online;
                peer.ForgetAnswers();
                break;
            case State.Resuming:
                Refuse(peer);
                break;
        }
    }

    void Refuse(Peer peer)
    {
        Refused++;
        if (peer.Acknowledged < peer.SafeFrom) RefusedForHistory++;
        End(peer);
    }

    void End(Peer peer)
    {
        peer.AssertNoViolation();
        if (peer.Change is not null || peer.Sink.IsWriting) peer.Sink.CompleteWrite();
        peer.State = State.Ended;
        _broadcast.Remove(peer.Connection);
        peer.Detached = peer.Connection.Writer.DetachAsync();
        peer.Connection.End();
    }

    void Finish()
    {
        for (var i = 0; i < 6; i++)
        {
            // Every disconnected client reconnects.
            foreach (var peer in Living.ToList())
            {
                if (peer is { State: State.Online, IsCut: true }) Notice(peer, writeFails: true);
                Settle();
                if (peer.State == State.Waiting) Resume(peer);
                Settle();
            }

            if (i % 2 == 0) _broadcast.Beat();
        }

        foreach (var peer in Living) peer.AssertHasAll();
        Assert.All(Living, peer => Assert.Equal(State.Online, peer.State));
        foreach (var peer in Living.ToList()) End(peer);
        _broadcast.RunUntilIdle();
        Assert.All(_peers, peer => Assert.True(peer.Detached!.IsCompleted, "A writer was not detached."));
        Assert.Equal(0, Retained);
        Assert.Equal(0, _broadcast.Connections.Count);
    }

    void Settle()
    {
        do
        {
            _broadcast.RunUntilIdle();
            foreach (var peer in Living.ToList())
            {
                peer.Sink.Mode = WriteMode.AtOnce;
                peer.Sink.CompleteWrite();
                Follow(peer);
            }
        }
        while (_broadcast.Pumps.Any(pump => pump.IsScheduled));
    }

    static bool Soon(Task<bool> task) => task.WaitAsync(Eventually.Patience).GetAwaiter().GetResult();

    enum State
    {
        Online,
        Suspending,
        Waiting,
        Resuming,
        Ended,
    }

    /// <summary>A client and its connection.</summary>
    sealed class Peer(Dictionary<int, long> sequences)
    {
        long _highest;

        public ReliableReceiver Client { get; } = new();
        public Connection Connection { get; set; } = null!;
        public ManualSink Sink { get; private set; } = null!;
        public State State { get; set; }

        /// <summary>
        /// True if the client is disconnected and the server does not know this yet. Only
        /// <see cref="StillArrive"/> more frames arrive.
        /// </summary>
        public bool IsCut { get; set; }
        public int StillArrive { get; set; }
        public string Token { get; set; } = "";
        public Task? Change { get; set; }
        public Task<bool>? Wait { get; set; }
        public Task? Detached { get; set; }
        public HashSet<string> Groups { get; } = [];
        public Dictionary<string, ModelFilter> Filters { get; } = [];
        public Dictionary<int, int> Expected { get; } = [];
        public HashSet<int> Replays { get; } = [];

        /// <summary>For each message, the number of additional copies that the client may receive.</summary>
        public Dictionary<int, int> Repeats { get; } = [];
        public HashSet<int> Answers { get; } = [];
        public HashSet<int> OldAnswers { get; } = [];

        /// <summary>
        /// The transient messages and their groups. A client receives each message at most once. A client that never
        /// disconnects receives each message of a group that skips no messages.
        /// </summary>
        public Dictionary<int, string> Transient { get; } = [];

        /// <summary>True if the client was disconnected at least once.</summary>
        public bool WasCut { get; set; }

        /// <summary>
        /// The messages that the server may skip, each with a message key or a group. Only the newest message of each
        /// key or group must arrive.
        /// </summary>
        public Dictionary<int, string> Lossy { get; } = [];

        public long Acknowledged { get; set; }

        /// <summary>
        /// After the client receives messages without IDs, it can recover only after it has acknowledged this ID or a
        /// later ID.
        /// </summary>
        public long SafeFrom { get; private set; }

        public bool Receives(string group, int id) => Groups.Contains(group) && Filters[group].Accepts(id);

        /// <summary>Allows one more copy of a message, because a join may replay the message.</summary>
        public void MayReplay(int id)
        {
            Repeats[id] = Repeats.GetValueOrDefault(id) + 1;
            Replays.Add(id);
        }

        public void Expect(int id) => Expected[id] = Expected.GetValueOrDefault(id) + 1;

        public void NewTransport(WriteMode mode)
        {
            (IsCut, StillArrive) = (false, 0);
            Sink = new ManualSink(OnWrite) { Mode = mode };

            void OnWrite(ReadOnlyMemory<byte> frames)
            {
                Assert.NotEqual(State.Waiting, State);
                var count = 0;
                Assert.Null(ReliableReceiver.Parse(frames.Span, (number, id, isAnswer) =>
                {
                    count++;
                    // A frame without an ID is a reply or a message that a join replays.
                    if (id is null && !isAnswer)
                    {
                        Assert.Contains(number, Replays);
                        SafeFrom = _highest + 1;
                    }
                    else
                    {
                        _highest = Math.Max(_highest, sequences[number]);
                        if (id is not null) Assert.Equal(sequences[number], id);
                    }
                }));
                var most = IsCut ? Math.Min(StillArrive, count) : int.MaxValue;
                if (IsCut) StillArrive -= most;
                Client.Receive(frames.Span, most);
            }
        }

        /// <summary>
        /// Expects no more replies to earlier requests. A request on a disconnected transport gets no reply on the next
        /// transport.
        /// </summary>
        public void ForgetAnswers()
        {
            OldAnswers.UnionWith(Answers);
            Answers.Clear();
        }

        public void AssertNoViolation()
        {
            Assert.Null(Client.Problem);
            Assert.Null(Sink.Violation);
            var counts = Client.Got.GroupBy(id => id).ToDictionary(group => group.Key, group => group.Count());
            foreach (var (id, count) in counts)
            {
                var most = Expected.TryGetValue(id, out var expected) ? expected : Lossy.ContainsKey(id) || Transient.ContainsKey(id) || Answers.Contains(id) || OldAnswers.Contains(id) ? 1 : 0;
                Assert.True(count <= most + Repeats.GetValueOrDefault(id), $"Got message {id} {count} times instead of at most {most} times.");
            }

            // A slow reader skips messages and receives them on the next transport. These messages may follow the reply to a later request.
            AssertInOrder(Client.Got.Where(id => !Answers.Contains(id) && !OldAnswers.Contains(id)));
            AssertInOrder(Client.Got.Where(id => !Lossy.ContainsKey(id)));
        }

        void AssertInOrder(IEnumerable<int> ids)
        {
            var inOrder = ids.Where(id => !Replays.Contains(id)).ToList();
            Assert.Equal(inOrder.Order(), inOrder);
        }

        public void AssertHasAll()
        {
            AssertNoViolation();
            var counts = Client.Got.GroupBy(id => id).ToDictionary(group => group.Key, group => group.Count());
            foreach (var (id, expected) in Expected) Assert.True(counts.GetValueOrDefault(id) == expected, $"Got message {id} {counts.GetValueOrDefault(id)} times instead of {expected} times.");
            foreach (var (id, name) in Transient.Where(message => !WasCut && message.Value is not (Conflated or Skipping)))
                Assert.True(counts.ContainsKey(id), $"The transient message {id} of '{name}' is missing.");
            foreach (var id in Answers) Assert.True(counts.ContainsKey(id), $"Reply {id} is missing.");
            foreach (var newest in Lossy.GroupBy(entry => entry.Value, entry => entry.Key).Select(ids => ids.Max()))
                Assert.True(counts.ContainsKey(newest), $"Message {newest}, the newest of its key or group, is missing.");
        }
    }
}
