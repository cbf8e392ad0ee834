using System.Net.WebSockets;

namespace Broadcast.Middleware.Tests.Delivery;

enum Step
{
    Publish,
    PublishToSeveral,
    PublishToAll,
    PublishToUser,
    Send,
    Join,
    Leave,
    Connect,
    Remove,
    Open,
    CompleteWrite,
    FailWrite,
    SetMode,
    RunTurn,
    Beat,
    Close,
}

/// <summary>
/// Runs a schedule on one thread against a real broadcast and a simple model. The model lists the messages that each
/// connection must receive, in order of publishing.
/// </summary>
/// <param name="pumps">The number of pumps.</param>
/// <param name="maxBacklog">See <see cref="BroadcastOptions.MaxBacklogBytes"/>.</param>
sealed class ScheduleModel(int pumps, int maxBacklog) : IDisposable
{
    const string Everyone = "", Retaining = "/r";
    const int Keys = 4, MaxRetainedBytes = 300_000;
    static readonly string[] _names = ["/a", Retaining, "/b", "/c", "/h1", "/h2"];

    // The histories keep all messages, so that a member that joins at the end receives all messages.
    readonly TestEngine _broadcast = new(pumps, maxBacklog, configure: static options =>
    {
        options.Groups["/h*"] = new() { HistoryMessages = 1_000, HistoryBytes = 1 << 29, HistoryAge = Timeout.InfiniteTimeSpan };
        options.Groups[Retaining] = new() { RetainLatestPerKey = true, MaxRetainedBytes = MaxRetainedBytes };
    });
    readonly List<Peer> _peers = [];
    readonly Dictionary<string, GroupModel> _groups = [];

    // All messages of the groups that keep messages.
    readonly Dictionary<string, List<(int Id, int Size, Peer[] Excluded)>> _histories = new() { ["/h1"] = [], ["/h2"] = [], [Retaining] = [] };
    readonly HashSet<ulong> _epochs = [];
    readonly List<string> _faults = [];
    int _lastId;

    /// <summary>The number of connections that the server closed as slow consumers.</summary>
    public int SlowConsumers => _peers.Count(peer => peer.IsSlow);

    /// <summary>The number of retained values that clients had to receive when they joined.</summary>
    public int RetainedOnJoin { get; private set; }

    /// <summary>The number of joins that shared an older copy of the retained values.</summary>
    public int SharedCopies { get; private set; }

    /// <summary>The number of messages that exceeded <see cref="GroupOptions.MaxRetainedBytes"/>.</summary>
    public int Refused { get; private set; }

    /// <summary>The number of memberships that got another filter.</summary>
    public int ReplacedFilters { get; private set; }

    public void Run(IEnumerable<Operation<Step>> operations)
    {
        foreach (var operation in operations)
        {
            Run(operation);
            CheckCounts();
            if (_faults.Count > 0) break;
        }

        if (_faults.Count == 0) Finish();
        Assert.True(_faults.Count == 0, string.Join("; ", _faults.Take(5)));
    }

    public void Dispose() => _broadcast.Dispose();

    void Run(Operation<Step> operation)
    {
        var (step, a, b, c, size) = operation;
        var name = _names[a % _names.Length];
        var peer = _peers.Count == 0 ? null : _peers[b % _peers.Count];
        switch (step)
        {
            case Step.Publish:
                PublishTo(name, Recipients.Group(name), size, c);
                break;
            case Step.PublishToSeveral:
                string[] names = [.. _names.Where((name, index) => name != Retaining && (b & (1 << index)) != 0), .. a == 0 ? [name, "/nobody"] : Array.Empty<string>()];
                if (c % 2 == 0) Array.Reverse(names);
                PublishToSeveral(names, size, c);
                break;
            case Step.PublishToAll:
                PublishTo(Everyone, Recipients.Everyone, size, c);
                break;
            case Step.PublishToUser:
                PublishToUser($"{a % 2}", size, c);
                break;
            case Step.Send when peer is not null:
                SendTo(peer, size);
                break;
            case Step.Join when peer is not null:
                var joins = !peer.IsRemoved && peer.Groups.Add(name);
                var filter = ModelFilter.Choose(c);
                // A replay would deliver some messages again, which is correct but not in the model. So this join requests no replay.
                var replay = name == Retaining ? default : Replay.None;
                Expect(joins == Await(_broadcast.JoinAsync(peer.Connection.Id, name, replay, filter.Filter, default)).Joined, "a join's result");
                if (joins) Enter(name, peer, filter);
                else if (!peer.IsRemoved && filter.Filter is not null) ReplaceFilter(name, peer, filter);
                if (joins && name == Retaining) ExpectRetained(peer);
                break;
            case Step.Leave when peer is not null:
                var leaves = peer.Groups.Remove(name);
                if (leaves) Exit(name, peer);
                Expect(leaves == Await(_broadcast.LeaveAsync(peer.Connection.Id, name, default)), "a leave's result");
                break;
            case Step.Connect when _peers.Count < 12:
                Connect(_broadcast.Pumps[b % _broadcast.Pumps.Length], name, $"{b / 4 % 2}", opens: c % 4 != 0, (WriteMode)(c % 2), ModelFilter.Choose(size));
                break;
            case Step.Remove when peer is not null:
                Remove(peer);
                break;
            case Step.Open when peer is not null:
                Open(peer);
                break;
            case Step.CompleteWrite when peer is not null:
                peer.Sink.CompleteWrite();
                break;
            case Step.FailWrite when peer is not null:
                peer.Sink.FailWrite();
                break;
            case Step.SetMode when peer is not null:
                // Writes fail rarely, because most schedules would otherwise end early.
                peer.Sink.Mode = c == 0 ? WriteMode.Throws : (WriteMode)(c % 2);
                break;
            case Step.RunTurn:
                _broadcast.Pumps[a % _broadcast.Pumps.Length].RunTurn();
                break;
            case Step.Beat:
                // The heartbeat trims an idle log and ends its block. After that, the newest message also counts toward the backlog.
                foreach (var group in _groups.Values)
                {
                    foreach (var membership in group.Members.Values.Concat(group.Left)) membership.NoteBacklog();
                }

                _broadcast.Beat();
                break;
            case Step.Close when peer is not null:
                Expect(!peer.IsRemoved == Await(_broadcast.CloseAsync(peer.Connection.Id, WebSocketCloseStatus.NormalClosure, null, default)),
                    "a close's result");
                if (!peer.IsRemoved) peer.ExpectedAtClose ??= peer.Expected.Count;
                break;
        }
    }

    void Connect(ManualPump pump, string home, string user, bool opens, WriteMode mode, ModelFilter filter)
    {
        var peer = new Peer { Request = new FakeRequest { UserId = user }, Pump = pump, MaxBacklog = maxBacklog, Faults = _faults };
        peer.Sink = new ManualSink(peer.OnWrite) { Mode = mode };
        peer.PrivateLog.Members.Add(peer, new(peer, peer.PrivateLog, ModelFilter.None));
        peer.Connection = _broadcast.Admit(pump, home, peer.Request);
        if (opens) Open(peer);
        Assert.True(_broadcast.AttachAsync(peer.Connection, Replay.None, filter.Filter).AsTask().IsCompletedSuccessfully);
        Expect(peer.Connection.WasOpened, "attaching");
        peer.Groups.Add(home);
        peer.Groups.Add(Everyone);
        Enter(home, peer, filter);
        Enter(Everyone, peer, filter);
        _peers.Add(peer);
    }

    static void Open(Peer peer)
    {
        if (peer.IsOpen || peer.IsRemoved) return;
        peer.IsOpen = true;
        peer.Connection.Writer.Open(peer.Sink);
    }

    /// <summary>Removes the connection and detaches the writer, as the endpoint does when the request ends.</summary>
    void Remove(Peer peer)
    {
        if (peer.IsRemoved) return;
        peer.IsRemoved = true;
        foreach (var group in peer.Groups) Exit(group, peer);
        peer.Groups.Clear();
        _broadcast.Remove(peer.Connection);
        peer.Detached = peer.Connection.Writer.DetachAsync();
    }

    void PublishTo(string name, Recipients recipients, int size, int exclusions)
    {
        if (Publish(recipients, ref size, exclusions) is not var (result, excluded, id)) return;
        if (Find(name) is not { } group)
        {
            Expect(result == default, "publishing to an empty group");
            return;
        }

        var isFirst = group.Epoch == 0;
        if (isFirst) group.Epoch = result.Position?.Epoch ?? 0;
        if (isFirst) Expect(_epochs.Add(group.Epoch), "a new epoch for each lifetime of a group");
        Expect(result.Position == new Position(group.Epoch, group.LastOffset + 1), "the position");
        Expect(result.LocalRecipients == group.Members.Keys.Except(excluded).Count(), "the number of recipients");
        Append([(name, group)], excluded, id, size);
    }

    void PublishToSeveral(string[] names, int size, int exclusions)
    {
        var (result, excluded, id) = Publish(Recipients.Groups(names), ref size, exclusions)!.Value;
        (string? Name, GroupModel Group)[] groups = [.. names.Distinct().Where(name => Find(name) is not null).Select(name => ((string?)name, _groups[name]))];
        Expect(result == new PublishResult(null, groups.Sum(entry => entry.Group.Members.Count)), "the result of publishing to several groups");
        Append(groups, excluded, id, size);
    }

    void PublishToUser(string user, int size, int exclusions)
    {
        var (_, excluded, id) = Publish(Recipients.User(user), ref size, exclusions)!.Value;
        foreach (var peer in _peers.Where(peer => !peer.IsRemoved && peer.Request.UserId == user).Except(excluded)) Append([(null, peer.PrivateLog)], [], id, size);
    }

    /// <summary>Publishes a message. Returns null if the group cannot retain the message.</summary>
    (PublishResult Result, Peer[] Excluded, int Id)? Publish(Recipients recipients, ref int size, int exclusions)
    {
        // Large messages bring the retained values above the size at which joins may share an older copy.
        size = Math.Min(recipients.Name == Retaining ? Math.Min(20 * size, 200_000) : size, maxBacklog);
        Peer[] excluded = exclusions < 8 ? [.. _peers.Where((_, index) => (index + exclusions) % 4 == 0)] : [];
        recipients = recipients.Except([.. excluded.Select(peer => peer.Connection.Id)]);
        var id = ++_lastId;
        var payload = Payload.Make(id, size);
        var message = new Message(payload, MessageType.Binary) { Key = $"key {id % Keys}", Tags = ModelFilter.TagsOf(id) };
        if (recipients.Name == Retaining)
        {
            var others = Values(_histories[Retaining]).Where(value => value.Id % Keys != id % Keys);
            if (others.Append((id, size, excluded)).Sum(RetainedCost) > MaxRetainedBytes)
            {
                Assert.Throws<InvalidOperationException>(() => Await(_broadcast.PublishAsync(message, recipients, default)));
                Refused++;
                return null;
            }
        }

        var result = Await(_broadcast.PublishAsync(message, recipients, default));
        // The broadcast copies the payload, so this later change must have no effect.
        payload.AsSpan().Fill(0xEE);
        return (result, excluded, id);

        static int RetainedCost((int Id, int Size, Peer[] Excluded) value) => RecoveryHelpers.RetainedCost(
            value.Size, "key 0", ModelFilter.TagsOf(value.Id), value.Excluded.Select(peer => peer.Connection.Id));
    }

    /// <summary>
    /// Returns the group, or null if the group does not exist. A publish call creates a group that keeps messages.
    /// </summary>
    GroupModel? Find(string name)
    {
        if (!_groups.TryGetValue(name, out var group) && _histories.ContainsKey(name)) _groups.Add(name, group = new());
        return group;
    }

    void SendTo(Peer peer, int size)
    {
        size = Math.Min(size, maxBacklog);
        var id = ++_lastId;
        var result = Await(_broadcast.PublishAsync(
            new(Payload.Make(id, size), MessageType.Binary), Recipients.Connection(peer.Connection.Id), default));
        Expect(result == new PublishResult(null, peer.IsRemoved ? 0 : 1), "the result of sending to a connection");
        if (!peer.IsRemoved) Append([(null, peer.PrivateLog)], [], id, size);
    }

    /// <summary>
    /// Adds a message to groups of the model. A member of several of these groups expects the message once.
    /// </summary>
    void Append((string? Name, GroupModel Group)[] groups, Peer[] excluded, int id, int size)
    {
        var memberships = new Dictionary<Peer, List<Membership>>();
        foreach (var (name, group) in groups)
        {
            foreach (var membership in group.Members.Values) membership.NoteBacklog();
            foreach (var membership in group.Left)
            {
                if (membership.HasUnreadMessages) membership.NoteBacklog();
            }

            group.LastOffset++;
            group.Bytes += size + (size < 126 ? 2 : size < 65536 ? 4 : 10) + Block.EntrySize;
            if (name is not null && _histories.TryGetValue(name, out var history)) history.Add((id, size, excluded));
            foreach (var (member, membership) in group.Members)
            {
                membership.End = group.Bytes;
                if (!membership.Filter.Accepts(id)) continue;
                if (!memberships.TryGetValue(member, out var ofMember)) memberships.Add(member, ofMember = []);
                ofMember.Add(membership);
            }
        }

        foreach (var (member, ofMember) in memberships)
        {
            if (!excluded.Contains(member)) member.Expected.Add(new(id, size, [.. ofMember.Select(membership => (membership, membership.End))]));
        }
    }

    void Enter(string name, Peer peer, ModelFilter filter)
    {
        if (!_groups.TryGetValue(name, out var group)) _groups.Add(name, group = new());
        group.Members.Add(peer, new(peer, group, filter));
    }

    /// <summary>Ends the membership after the newest message, and starts a membership with another filter.</summary>
    void ReplaceFilter(string name, Peer peer, ModelFilter filter)
    {
        var group = _groups[name];
        group.Left.Add(group.Members[peer]);
        group.Members[peer] = new(peer, group, filter);
        ReplacedFilters++;
    }

    /// <summary>
    /// Returns the messages that a new member of the retaining group must receive. First, the member receives the newest
    /// message of each key. The member can share an older copy of these values with other members. The member then also
    /// receives every message after this copy.
    /// </summary>
    List<(int Id, int Size, Peer[] Excluded)> FirstMessages(Connection joined)
    {
        var (messages, start) = (_histories[Retaining], joined.JoinedGroups[^1].Cursor.Block);
        Expect(start.IsRetained == messages.Count > 0, "the retained values of a new member");
        if (!start.IsRetained) return [];
        var copied = (int)start.FirstOffset + start.Count - 1;
        var (values, later) = (Values(messages.Take(copied)).ToList(), messages.Skip(copied).ToList());
        if (later.Count == 0) return values;
        var size = values.Sum(static value => Frame.Size(value.Size));
        var age = later.Sum(static message => Frame.Size(message.Size) + Block.EntrySize);
        Expect(size >= 16 * 1024 && age <= size / 8, $"the age of the shared copy: {age} bytes for a copy of {size} bytes");
        SharedCopies++;
        return [.. values, .. later];
    }

    static IEnumerable<(int Id, int Size, Peer[] Excluded)> Values(IEnumerable<(int Id, int Size, Peer[] Excluded)> messages) =>
        messages.GroupBy(static message => message.Id % Keys, static (_, ofKey) => ofKey.Last()).OrderBy(static value => value.Id);

    /// <summary>Adds the retained values to the unread messages of a new member. The server sends all unread messages in the order of publishing.</summary>
    void ExpectRetained(Peer peer)
    {
        var membership = _groups[Retaining].Members[peer];
        var values = FirstMessages(peer.Connection).Where(value => !value.Excluded.Contains(peer) && membership.Filter.Accepts(value.Id))
            .Select(value => new Sent(value.Id, value.Size, [(membership, membership.End)])).ToList();
        RetainedOnJoin += values.Count;
        Sent[] unread = [.. peer.Expected.Skip(peer.Received), .. values];
        peer.Expected.RemoveRange(peer.Received, peer.Expected.Count - peer.Received);
        peer.Expected.AddRange(unread.OrderBy(message => message.Id));
    }

    void Exit(string name, Peer peer)
    {
        var group = _groups[name];
        group.Members.Remove(peer, out var membership);
        group.Left.Add(membership!);
        if (group.Members.Count == 0 && !_histories.ContainsKey(name)) _groups.Remove(name);
    }

    /// <summary>Completes all pending work and checks the final state.</summary>
    void Finish()
    {
        foreach (var peer in _peers)
        {
            Open(peer);
            if (peer.Sink.Mode == WriteMode.Later) peer.Sink.Mode = WriteMode.AtOnce;
        }

        for (var i = 0; i < 3; i++)
        {
            _broadcast.RunUntilWritten(() => _peers.Select(peer => peer.Sink));
            _broadcast.Beat();
        }

        _broadcast.RunUntilIdle();
        foreach (var peer in _peers) peer.CheckAtRest();
        foreach (var peer in _peers) Remove(peer);
        _broadcast.RunUntilIdle();
        foreach (var peer in _peers) Expect(peer.Detached!.IsCompleted, "detaching");
        CheckCounts();
        CheckHistories();
        _broadcast.Time.Advance(TimeSpan.FromSeconds(10));
        _broadcast.RunUntilIdle();
        Expect(_broadcast.Groups.Count == _histories.Values.Count(history => history.Count > 0), "no empty group");
        Expect(_broadcast.Connections.Count == 0, "no connection in the registry");
        Expect(_broadcast.Pumps.All(pump => pump.Pump.Connections == 0), "no connection on a pump");
    }

    /// <summary>Asserts that a late member receives the whole history, or all retained values.</summary>
    void CheckHistories()
    {
        foreach (var (name, expected) in _histories)
        {
            var (got, messages) = (0, expected);
            var sink = new ManualSink(frames =>
            {
                var problem = FrameParser.Read(frames.Span, (_, payload) =>
                    Expect(got < messages.Count && Payload.Is(payload, messages[got].Id, messages[got++].Size), $"the history of {name}"));
                if (problem is not null) _faults.Add(problem);
            });
            var late = _broadcast.Connect(_broadcast.Pumps[0], "/home", sink);
            late.Join(name, Replay.Last(1_000));
            if (name == Retaining) messages = FirstMessages(late);
            _broadcast.RunUntilIdle();
            Expect(got == messages.Count, $"the length of the history of {name}: {got} of {messages.Count}");
            _broadcast.Remove(late);
            _ = late.Writer.DetachAsync();
            _broadcast.RunUntilIdle();
        }
    }

    void CheckCounts()
    {
        var registry = _broadcast.Connections;
        Expect(registry.Count == _peers.Count(peer => !peer.IsRemoved), "the number of connections");
        // The next heartbeat removes groups that have neither members nor a history.
        var removable = _histories.Count(history => history.Value.Count == 0 && (!_groups.TryGetValue(history.Key, out var group) || group.Members.Count == 0));
        var certain = _groups.Count(group => group.Value.Members.Count > 0 || _histories[group.Key].Count > 0);
        Expect(_broadcast.Groups.Count >= certain && _broadcast.Groups.Count <= certain + removable, "the number of groups");
        foreach (var name in _names)
            Expect(registry.CountGroupMembers(name) == (_groups.TryGetValue(name, out var group) ? group.Members.Count : 0), $"the members of {name}");
    }

    void Expect(bool condition, string description)
    {
        if (!condition) _faults.Add($"Wrong: {description}");
    }

    static T Await<T>(ValueTask<T> task) => task.IsCompletedSuccessfully ? task.Result : throw new InvalidOperationException("The task did not complete synchronously.");

    /// <summary>A log in the model: one lifetime of a group, or the private log of a connection.</summary>
    sealed class GroupModel
    {
        public Dictionary<Peer, Membership> Members { get; } = [];
        public List<Membership> Left { get; } = [];
        public ulong Epoch { get; set; }
        public long LastOffset { get; set; }
        public long Bytes { get; set; }
    }

    /// <summary>A membership of a connection, from a join to a leave.</summary>
    sealed class Membership(Peer peer, GroupModel group, ModelFilter filter)
    {
        public ModelFilter Filter => filter;
        public long End { get; set; } = group.Bytes;
        public long ReadUpTo { get; set; } = group.Bytes;
        public bool HasUnreadMessages => ReadUpTo < End;

        /// <summary>
        /// Records whether the connection is so far behind that the server may close it as slow. Call this method before each append.
        /// </summary>
        public void NoteBacklog() => peer.MayBeSlow |= group.Bytes - ReadUpTo > peer.MaxBacklog;
    }

    readonly record struct Sent(int Id, int Size, (Membership Membership, long End)[] Memberships);

    sealed class Peer
    {
        public required FakeRequest Request { get; init; }
        public required ManualPump Pump { get; init; }
        public required int MaxBacklog { get; init; }
        public required List<string> Faults { get; init; }
        public Connection Connection { get; set; } = null!;
        public ManualSink Sink { get; set; } = null!;
        public bool IsOpen { get; set; }
        public bool IsRemoved { get; set; }
        public Task? Detached { get; set; }
        public GroupModel PrivateLog { get; } = new();
        public HashSet<string> Groups { get; } = [];
        public List<Sent> Expected { get; } = [];
        public bool MayBeSlow { get; set; }
        public int Received { get; private set; }
        public int? ExpectedAtClose { get; set; }
        public bool IsSlow => Connection.Writer.ClosingStatus == CloseStatus.TryAgainLater;

        public void OnWrite(ReadOnlyMemory<byte> frames)
        {
            if (Detached is { IsCompleted: true }) Faults.Add("A write after the writer had been detached");
            var problem = FrameParser.Read(frames.Span, (opcode, payload) =>
            {
                if (Received == Expected.Count)
                {
                    Faults.Add($"An unexpected message of {payload.Length} bytes");
                    return;
                }

                var sent = Expected[Received++];
                var (id, size, memberships) = sent;
                if (opcode != 2 || !Payload.Is(payload, id, size)) Faults.Add($"Another message of {payload.Length} bytes instead of message {id}");
                foreach (var (membership, end) in memberships) membership.ReadUpTo = end;
            });
            if (problem is not null) Faults.Add(problem);
        }

        public void CheckAtRest()
        {
            if (Sink.Violation is { } violation) Faults.Add(violation);
            // OnWrite has already checked that the connection received a prefix of the expected messages. Check that
            // the prefix is long enough.
            if (IsRemoved || Sink.HasFailed)
            {
                if (Sink.Closed is null || Received == Expected.Count) return;
            }

            if (IsSlow)
            {
                if (!MayBeSlow) Faults.Add("Closed as a slow consumer, but the connection was not slow");
                if (Sink.Closed != CloseStatus.TryAgainLater && !Sink.HasFailed) Faults.Add("A slow consumer got no close frame with 1013");
            }
            else if (ExpectedAtClose is { } atLeast)
            {
                if (Received < atLeast && !Sink.HasFailed) Faults.Add($"Closed after {Received} of {atLeast} messages");
                if (Sink.Closed != WebSocketCloseStatus.NormalClosure && !Sink.HasFailed && !IsRemoved) Faults.Add("No close frame");
            }
            else
            {
                if (Received != Expected.Count) Faults.Add($"Got {Received} of {Expected.Count} messages");
                if (Sink.Closed is not null) Faults.Add("Closed for no reason");
            }
        }
    }
}
