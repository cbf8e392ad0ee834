
namespace Broadcast.Middleware.Tests.Delivery;

enum RecoveryStep
{
    Publish,
    PublishToAll,
    PublishTransient,
    Send,
    Connect,
    Disconnect,
    Leave,
    CompleteWrite,
    SetMode,
    RunTurn,
    Wait,
}

/// <summary>
/// Runs random operations against a real broadcast and a model of one group with a history and retained values. The
/// clients of the group disconnect and reconnect with their last position. The model consists of all messages of the
/// group and the limits.
/// </summary>
sealed class RecoveryModel : IDisposable
{
    const string Name = "/g";

    readonly GroupOptions _limits;
    readonly TestEngine _broadcast;
    readonly Client[] _clients = [new(), new(), new(), new()];
    readonly Dictionary<int, Position> _positions = [];
    readonly HashSet<ulong> _epochs = [];
    List<Entry>? _log;
    ulong? _epoch;
    int _lastId;

    public RecoveryModel(GroupOptions limits)
    {
        _limits = limits;
        _broadcast = new(pumps: 2, maxBacklog: 64 << 20, configure: options =>
        {
            RecoveryHelpers.History(Name)(options);
            options.Groups[Name] = limits;
        });
    }

    public int Recovered { get; private set; }

    public int Trimmed { get; private set; }

    public int FromFuture { get; private set; }

    public int Transient { get; private set; }

    public int FromOtherEpoch { get; private set; }

    /// <summary>The number of retained values that clients received when they joined.</summary>
    public int Retained { get; private set; }

    /// <summary>The number of joins that shared an older copy of the retained values.</summary>
    public int SharedCopies { get; private set; }

    /// <summary>The number of messages that exceeded <see cref="GroupOptions.MaxRetainedKeys"/>.</summary>
    public int RefusedKeys { get; private set; }

    /// <summary>The number of messages that exceeded <see cref="GroupOptions.MaxRetainedBytes"/>.</summary>
    public int RefusedBytes { get; private set; }

    /// <summary>The number of memberships that got another filter.</summary>
    public int ReplacedFilters { get; private set; }

    bool HasHistory => _limits.HistoryMessages > 0;

    bool Retains => _limits.RetainLatestPerKey;

    long Last => _log?.Count ?? 0;

    IEnumerable<Client> Members => _clients.Where(client => client.Membership is not null);

    public void Run(IEnumerable<Operation<RecoveryStep>> operations)
    {
        foreach (var operation in operations) Run(operation);
        foreach (var client in _clients.Where(client => client.Listener is not null)) client.Listener!.Sink.Mode = WriteMode.AtOnce;
        _broadcast.RunUntilWritten(() => _clients.Where(client => client.Listener is not null).Select(client => client.Listener!.Sink));
        foreach (var client in _clients) Disconnect(client, hasAll: true);
        _broadcast.RunUntilIdle();
        _broadcast.Time.Advance(TimeSpan.FromDays(1));
        Assert.Equal(_log is not null && (Kept().Any() || RetainedBefore(Last + 1, Last).Any()) ? 1 : 0, _broadcast.Groups.Count);
    }

    public void Dispose() => _broadcast.Dispose();

    void Run(Operation<RecoveryStep> operation)
    {
        var (step, a, b, _, size) = operation;
        var client = _clients[a % _clients.Length];
        switch (step)
        {
            case RecoveryStep.Publish:
                var (key, removes) = Retains && b % 10 < 8 ? ($"key {b % 5}", b % 10 == 7 && b % 3 == 0) : (null, false);
                Publish(b < 300 ? [.. _clients.Where((other, index) => other.Listener is not null && (index + b) % 3 == 0)] : [], size, key, removes);
                break;
            case RecoveryStep.PublishToAll:
                _broadcast.Publish(Recipients.Everyone, ++_lastId);
                foreach (var other in _clients.Where(other => other.Listener is not null)) other.Others.Add(_lastId);
                break;
            case RecoveryStep.PublishTransient:
                PublishTransient(b < 300 ? client : null, size);
                break;
            case RecoveryStep.Send when client.Listener is { } listener:
                _broadcast.Publish(Recipients.Connection(listener.Connection.Id), ++_lastId);
                client.Others.Add(_lastId);
                break;
            case RecoveryStep.Connect when client.Listener is null:
                client.Listener = new(_broadcast, pump: _broadcast.Pumps[a % 2]);
                if (b % 3 == 0) client.Listener.Sink.Mode = WriteMode.Later;
                Join(client, b, size);
                break;
            case RecoveryStep.Connect when client.Membership is null:
                // Let the server send the pending messages of the last membership before the replay.
                Drain(client);
                Join(client, b, size);
                break;
            case RecoveryStep.Connect:
                ReplaceFilter(client, ModelFilter.Choose(size));
                break;
            case RecoveryStep.Disconnect:
                Disconnect(client, hasAll: false);
                break;
            case RecoveryStep.Leave when client.Membership is not null:
                client.Listener!.Leave(Name);
                End(client);
                break;
            case RecoveryStep.CompleteWrite:
                client.Listener?.Sink.CompleteWrite();
                break;
            case RecoveryStep.SetMode when client.Listener is { } listener:
                listener.Sink.Mode = (WriteMode)(b % 2);
                break;
            case RecoveryStep.RunTurn:
                _broadcast.Pumps[a % 2].RunTurn();
                break;
            case RecoveryStep.Wait:
                var beat = _broadcast.Heartbeat.Beat;
                _broadcast.Time.Advance(TimeSpan.FromMilliseconds(b * 5));
                if (_broadcast.Heartbeat.Beat != beat && !Members.Any() && !Kept().Any() && !RetainedBefore(Last + 1, Last).Any()) Forget();
                break;
        }
    }

    void Publish(Client[] excluded, int size, string? key, bool removes)
    {
        var message = new Message(Payload.Make(++_lastId, size), MessageType.Binary) { Key = key, RemoveKey = removes, Tags = ModelFilter.TagsOf(_lastId) };
        string[] excludedIds = [.. excluded.Select(client => client.Listener!.Connection.Id)];
        var recipients = Recipients.Group(Name).Except(excludedIds);
        var retainedCost = key is null || removes ? 0 : RecoveryHelpers.RetainedCost(size, key, message.Tags, excludedIds);
        if (retainedCost > 0)
        {
            var others = RetainedBefore(Last + 1, Last).Where(entry => entry.Key != key).ToList();
            var exceedsKeys = others.Count == _limits.MaxRetainedKeys;
            var exceedsBytes = others.Sum(entry => entry.RetainedCost) + retainedCost > _limits.MaxRetainedBytes;
            if (exceedsKeys) RefusedKeys++;
            else if (exceedsBytes) RefusedBytes++;
            if (exceedsKeys || exceedsBytes)
            {
                Assert.Throws<InvalidOperationException>(() => _broadcast.Publish(message, recipients));
                return;
            }
        }

        var result = _broadcast.Publish(message, recipients);
        if (!HasHistory && !Members.Any() && (!Retains || ((key is null || removes) && _log is null)))
        {
            Assert.Equal(default, result);
            return;
        }

        Remember(result.Position!.Value.Epoch);
        var entry = new Entry(
            _lastId, size + (size < 126 ? 2 : size < 65_536 ? 4 : 10) + Block.EntrySize, retainedCost, _broadcast.Time.GetTimestamp(),
            excludedIds, key, removes);
        _log!.Add(entry);
        Assert.Equal(new PublishResult(new(_epoch!.Value, Last), Members.Except(excluded).Count()), result);
        _positions.Add(_lastId, result.Position.Value);
        foreach (var member in Members) member.Membership!.Add(entry);
    }

    /// <summary>
    /// Publishes a message that only the current members receive. The message must not affect the history or any position.
    /// </summary>
    void PublishTransient(Client? excluded, int size)
    {
        var recipients = Recipients.Group(Name);
        if (excluded is { Listener: { } listener }) recipients = recipients.Except(listener.Connection.Id);
        var message = new Message(Payload.Make(++_lastId, size), MessageType.Binary) { IsTransient = true, Tags = ModelFilter.TagsOf(_lastId) };
        var result = _broadcast.Publish(message, recipients);
        var receivers = Members.Where(member => member != excluded).ToList();
        Assert.Equal(new PublishResult(null, receivers.Count), result);
        receivers.RemoveAll(receiver => !receiver.Membership!.Filter.Accepts(_lastId));
        foreach (var receiver in receivers) receiver.Others.Add(_lastId);
        Transient += receivers.Count;
    }

    void Join(Client client, int how, int number)
    {
        var first = Last + 1 - Kept().Count();
        var after = NextPosition(client, how / 16);
        var replay = (how % 16) switch
        {
            0 => default,
            1 => Replay.None,
            2 => Replay.Last(number % 20),
            3 => Replay.Last(number),
            _ => Replay.After(after),
        };
        var filter = ModelFilter.Choose(number);
        var result = client.Listener!.Join(Name, replay, filter.Filter);
        Assert.True(result.Joined);
        Remember(result.Position!.Value.Epoch);

        bool? recovered = how % 16 < 4 ? null : after.Epoch == _epoch && after.Offset <= Last && after.Offset >= first - 1;
        Assert.Equal(recovered, result.Recovered);
        var start = (recovered, how % 16) switch
        {
            (true, _) => after.Offset + 1,
            (_, 1) => Last + 1,
            (_, 2) => Math.Max(first, Last + 1 - (number % 20)),
            (_, 3) => Math.Max(first, Last + 1 - number),
            _ => Math.Max(first, Last + 1 - _limits.ReplayOnJoin),
        };
        // Replay.Last(0) is the same as Replay.None.
        var selectsNothing = (how % 16) switch { 1 => true, 2 => number % 20 == 0, 3 => number == 0, _ => false };
        var retained = recovered is true || selectsNothing ? [] : RetainedBefore(start, Last).ToList();
        if (retained.Count > 0) retained = RetainedInCopy(client.Listener.Connection, ref start);
        Assert.Equal(retained.Count > 0, StartOf(client.Listener.Connection).IsRetained);
        Retained += retained.Count(entry => filter.Accepts(entry.Id));
        var position = retained.Count > 0 ? _log!.IndexOf(retained[0]) : start - 1;
        Assert.Equal(new Position(_epoch!.Value, position), result.Position);
        client.Membership = new(retained.Concat(_log!.Skip((int)start - 1)), client.Listener.Connection.Id, filter);
        if (recovered is true) Recovered++;
        else if (recovered is false && after.Epoch != _epoch) FromOtherEpoch++;
        else if (recovered is false && after.Offset > Last) FromFuture++;
        else if (recovered is false) Trimmed++;
        client.Position = result.Position.Value;
    }

    /// <summary>
    /// Returns the values in the copy that a new member reads first. If other members share an older copy, the member
    /// also receives all messages after this copy, so this method moves the start of the replay.
    /// </summary>
    List<Entry> RetainedInCopy(Connection joined, ref long start)
    {
        var block = StartOf(joined);
        var copyEnd = block.FirstOffset + block.Count;
        if (copyEnd != start)
        {
            // Only a member without a replay may share an older copy.
            Assert.Equal(Last + 1, start);
            Assert.InRange(copyEnd, 1, Last);
            var (size, age) = (block.Length, _log!.Skip((int)copyEnd - 1).Sum(static entry => entry.Cost));
            Assert.True(size >= 16 * 1024 && age <= size / 8, $"A member shared a copy of {size} bytes that was {age} bytes old.");
            SharedCopies++;
            start = copyEnd;
            return [.. RetainedBefore(start, start - 1)];
        }

        return [.. RetainedBefore(start, Last)];
    }

    static Block StartOf(Connection joined) => joined.JoinedGroups[^1].Cursor.Block;

    /// <summary>Sets another filter, which applies from the next message on.</summary>
    void ReplaceFilter(Client client, ModelFilter filter)
    {
        Assert.Equal(default, client.Listener!.Join(Name, Replay.Last(10), filter.Filter));
        if (filter.Filter is null) return;
        client.Membership!.Filter = filter;
        ReplacedFilters++;
    }

    /// <summary>Returns the last position of the client, or sometimes another offset or epoch.</summary>
    Position NextPosition(Client client, int how) => (how % 8) switch
    {
        0 => client.Position with { Offset = client.Position.Offset + (how / 4) },
        1 => client.Position with { Offset = client.Position.Offset - (how / 8) },
        2 => client.Position with { Epoch = client.Position.Epoch + 1 },
        _ => client.Position,
    };

    void Drain(Client client)
    {
        client.Listener!.Sink.Mode = WriteMode.AtOnce;
        client.Listener.Sink.CompleteWrite();
        _broadcast.RunUntilIdle();
    }

    void Disconnect(Client client, bool hasAll)
    {
        if (client.Listener is not { } listener) return;
        if (client.Membership is not null) End(client);
        listener.AssertNoViolation();
        var ofGroup = listener.Got.Where(_positions.ContainsKey).ToList();
        var others = listener.Got.Where(id => !_positions.ContainsKey(id)).ToList();
        Assert.Equal(client.Expected.Take(hasAll ? int.MaxValue : ofGroup.Count), ofGroup);
        Assert.Equal(client.Others.Take(hasAll ? int.MaxValue : others.Count), others);
        // Only replayed messages may be older than the messages before them.
        var live = listener.Got.Where(id => !client.Replayed.Contains(id)).ToList();
        Assert.Equal(live.Order(), live);
        if (ofGroup.Count > 0) client.Position = _positions[ofGroup[^1]];
        listener.Disconnect();
        Assert.Null(listener.Sink.Closed);
        client.Forget();
        if (hasAll) _broadcast.RunUntilIdle();
    }

    void End(Client client)
    {
        client.Expected.AddRange(client.Membership!.Expected);
        client.Replayed.UnionWith(client.Membership.Replayed);
        client.Membership = null;
        if (!HasHistory && !Retains && !Members.Any()) Forget();
    }

    void Remember(ulong epoch)
    {
        if (_log is null) Assert.True(_epochs.Add(epoch), "A re-created group has an old epoch.");
        else Assert.Equal(_epoch, epoch);
        _log ??= [];
        _epoch = epoch;
    }

    void Forget() => (_log, _epoch) = (null, null);

    /// <summary>Returns the messages in the history, from the newest to the oldest.</summary>
    IEnumerable<Entry> Kept()
    {
        var (count, bytes) = (0, 0L);
        for (var i = (int)Last - 1; i >= 0; i--)
        {
            var entry = _log![i];
            (count, bytes) = (count + 1, bytes + entry.Cost);
            var isYoung = _limits.HistoryAge == Timeout.InfiniteTimeSpan || _broadcast.Time.GetElapsedTime(entry.At) <= _limits.HistoryAge;
            if (count > _limits.HistoryMessages || bytes > _limits.HistoryBytes || !isYoung) yield break;
            yield return entry;
        }
    }

    /// <summary>
    /// For each key, returns the newest of the first messages, if its offset is lower than <paramref name="offset"/>.
    /// The oldest message comes first.
    /// </summary>
    IEnumerable<Entry> RetainedBefore(long offset, long messages)
    {
        if (!Retains) return [];
        var newest = new Dictionary<string, int>();
        for (var i = 0; i < messages; i++)
        {
            if (_log![i].Key is not { } key) continue;
            if (_log[i].Removes) newest.Remove(key);
            else newest[key] = i;
        }

        return newest.Values.Where(index => index + 1 < offset).Order().Select(index => _log![index]);
    }

    sealed record Entry(int Id, int Cost, int RetainedCost, long At, string[] Excluded, string? Key, bool Removes);

    /// <summary>A client and its connections. The client has one connection at a time.</summary>
    sealed class Client
    {
        public Listener? Listener { get; set; }
        public Membership? Membership { get; set; }
        public Position Position { get; set; }
        public List<int> Expected { get; } = [];
        public List<int> Others { get; } = [];
        public HashSet<int> Replayed { get; } = [];

        public void Forget()
        {
            Listener = null;
            Expected.Clear();
            Others.Clear();
            Replayed.Clear();
        }
    }

    /// <summary>A membership of a client, from a join to a leave.</summary>
    sealed class Membership
    {
        readonly string _connectionId;

        public Membership(IEnumerable<Entry> replayed, string connectionId, ModelFilter filter)
        {
            (_connectionId, Filter) = (connectionId, filter);
            foreach (var entry in replayed) Add(entry);
            Replayed.AddRange(Expected);
        }

        public ModelFilter Filter { get; set; }
        public List<int> Expected { get; } = [];
        public List<int> Replayed { get; } = [];

        public void Add(Entry entry)
        {
            if (!entry.Excluded.Contains(_connectionId) && Filter.Accepts(entry.Id)) Expected.Add(entry.Id);
        }
    }
}
