
namespace Broadcast.Middleware.Tests.Clustering;

/// <summary>
/// Tests random schedules on several nodes. Each connection gets the messages of its groups once, in the order of the
/// cluster. After a possible loss, the server closes the connection with code 1013.
/// </summary>
public sealed class ClusterModelTests
{
    [Theory]
    [MemberData(nameof(Seeds))]
    public async Task Cluster_RandomSchedule_DeliversOnceInOrderOrClosesWithCode1013(int seed)
    {
        using var model = new Model(seed);
        for (var i = 0; i < 150; i++) await model.RunStepAsync();
        await model.EndAsync();
    }

    public static TheoryData<int> Seeds() => new(Enumerable.Range(1, 60 * Effort.Factor));

    [Fact]
    public async Task MessageKey_AcrossNodes_IsPreserved()
    {
        var cluster = new InMemoryCluster();
        using var one = new TestEngine(backplane: cluster.CreateNode(), configure: static options => options.Groups["g"] = new() { SlowConsumer = SlowConsumer.Conflate });
        using var two = new TestEngine(backplane: cluster.CreateNode());
        var ann = await Listener.ConnectAsync(one);
        await ann.Connection.JoinAsync("g", cancellationToken: TestContext.Current.CancellationToken);
        ann.Sink.Mode = WriteMode.Later;
        for (var i = 1; i <= 5; i++)
        {
            var message = new Message(BitConverter.GetBytes(i), MessageType.Binary) { Key = i % 2 == 0 ? "even" : null };
            await two.PublishAsync(message, Recipients.Group("g"), TestContext.Current.CancellationToken);
            one.RunUntilIdle();
        }

        one.Time.Advance(TimeSpan.FromSeconds(1));
        ann.Sink.Mode = WriteMode.AtOnce;
        ann.Sink.CompleteWrite();
        one.RunUntilIdle();
        ann.AssertGot(1, 3, 4, 5);
    }

    /// <remarks>
    /// The model does not use <see cref="Schedule"/>, because a step needs more than three random numbers, and their ranges depend
    /// on the connected members.
    /// </remarks>
    sealed class Model : IDisposable
    {
        const string ShortHistory = "d";
        static readonly string[] _groups = ["/a", "/b", "c", ShortHistory];
        static readonly string[] _retainingGroups = ["/b", ShortHistory];
        static readonly string?[] _users = [null, "ann", "bob"];

        readonly InMemoryCluster _cluster = new();
        readonly IBackplane[] _nodes;
        readonly Random _random;
        readonly TestEngine[] _broadcasts;
        readonly List<Member> _members = [];
        // The expected history of each group in the cluster, in order of offsets.
        readonly Dictionary<string, List<Entry>> _history = [];
        readonly Dictionary<string, ulong> _epochs = [];
        int _last;
        int _steps;

        public Model(int seed)
        {
            _random = new(seed);
            _nodes = [.. Enumerable.Range(0, _random.Next(2, 4)).Select(_ => _cluster.CreateNode())];
            _broadcasts = [.. _nodes.Select(node => new TestEngine(_random.Next(1, 3), backplane: node, configure: static options =>
            {
                // All groups keep messages, so that the cluster keeps their epochs. Only the cluster can supply the
                // retained values that are older than the short history.
                foreach (var group in _groups)
                {
                    options.Groups[group] = new()
                    {
                        HistoryMessages = group == ShortHistory ? 2 : 100_000, HistoryBytes = 16 * 1024 * 1024,
                        RetainLatestPerKey = _retainingGroups.Contains(group),
                    };
                }
            }))];
        }

        TestEngine AnyNode => Any(_broadcasts);

        public async Task RunStepAsync()
        {
            _steps++;
            switch (_random.Next(100))
            {
                case < 10:
                    await ConnectAsync();
                    break;
                case < 25:
                    await JoinAsync();
                    break;
                case < 35:
                    await LeaveAsync();
                    break;
                case < 38:
                    Disconnect();
                    break;
                case < 39:
                    await ForgetAsync();
                    break;
                case < 80:
                    await PublishAsync();
                    break;
                case < 86:
                    await JoinOrLeaveAsClientAsync();
                    break;
                default:
                    Run();
                    break;
            }
        }

        public async Task EndAsync()
        {
            await PublishAsync();
            Run();
            foreach (var member in _members) member.Check(_steps);
            while (_members.Count > 0) Disconnect();
            Run();
            Assert.All(_broadcasts, static broadcast => Assert.Equal((0, 0), (broadcast.Groups.Count, broadcast.Connections.Count)));
            // At the end, the cluster still contains the inboxes and the groups with a history.
            Assert.Equal(_broadcasts.Length + _history.Count(static group => group.Value.Count > 0), _cluster.Count);
            foreach (var node in _nodes) ((IDisposable)node).Dispose();
        }

        public void Dispose()
        {
            foreach (var broadcast in _broadcasts) broadcast.Dispose();
        }

        async Task ConnectAsync()
        {
            if (_members.Count > 8) return;
            var broadcast = Any(_broadcasts);
            var (home, user) = (_groups[_random.Next(2)], Any(_users));
            // The client may have had an earlier connection to any node.
            var (after, history) = (AfterOf(home), HistoryOf(home));
            var replay = after is { } position ? Replay.After(position) : default;
            var filter = ModelFilter.Choose(_random.Next(100));
            var member = new Member(broadcast, await Listener.ConnectAsync(broadcast, home, user, Any(broadcast.Pumps), replay, filter.Filter), user);
            member.Groups.Add(home);
            (member.AppFilters[home], member.AppFilters[""]) = (filter, filter);
            _members.Add(member);
            var replayed = after is { } known ? history.Skip((int)known.Offset) : RetainedOf(home);
            member.Expect(replayed.Where(message => member.Receives(home, message.Number, message.Excluded)).Select(static message => message.Number));
            Run();
            member.Check(_steps);
        }

        async Task JoinAsync()
        {
            if (_members.Count == 0) return;
            var (member, group) = (Any(_members), Any(_groups));
            var history = HistoryOf(group);
            var after = member.Groups.Contains(group) ? null : AfterOf(group);
            // Run the pumps before the join, so that the replay follows all earlier messages.
            var retained = RetainedOf(group);
            if (after is not null || retained.Count > 0) Run();
            var replay = after is { } position ? Replay.After(position) : default;
            var filter = ModelFilter.Choose(_random.Next(100));
            // The cluster cannot send a delegate to another node.
            var node = filter.Filter is { HasDelegate: true } ? member.Engine : AnyNode;
            var joined = await node.JoinAsync(member.Connection.Id, group, replay, filter.Filter, TestContext.Current.CancellationToken);
            Assert.Equal(member.Groups.Add(group), joined.Joined);
            // For a member, the call replaces only the filter of the app.
            if (joined.Joined || filter.Filter is not null) member.AppFilters[group] = filter;
            if (!joined.Joined) return;
            member.ClientFilters.Remove(group);
            if (history.Count > 0) _epochs[group] = joined.Position!.Value.Epoch;
            if (after is null)
            {
                Assert.Equal(retained.Count > 0 ? history.IndexOf(retained[0]) : history.Count, joined.Position!.Value.Offset);
                if (retained.Count == 0) return;
                Run();
                member.ExpectAgain(retained.Where(message => member.Receives(group, message.Number, message.Excluded)));
                return;
            }

            Assert.Equal((true, after), (joined.Recovered, joined.Position));
            Run();
            member.ExpectAgain(history.Skip((int)after.Value.Offset).Where(message => member.Receives(group, message.Number, message.Excluded)));
        }

        /// <summary>The filter of the app stays when the client leaves. The client can add a filter of its own.</summary>
        async Task JoinOrLeaveAsClientAsync()
        {
            if (_members.Count == 0) return;
            var (member, group) = (Any(_members), Any(_groups));
            if (member.Groups.Remove(group))
            {
                Assert.True(member.Connection.LeaveAsClient(group));
                return;
            }

            var (history, retained) = (HistoryOf(group), RetainedOf(group));
            if (retained.Count > 0) Run();
            var filter = ModelFilter.Choose(_random.Next(100));
            // A client cannot send a delegate.
            if (filter.Filter is { HasDelegate: true }) filter = ModelFilter.None;
            var joined = await member.Connection.JoinAsClientAsync(group, filter.Filter);
            Assert.True(joined.Joined);
            member.Groups.Add(group);
            member.ClientFilters[group] = filter;
            if (history.Count > 0) _epochs[group] = joined.Position!.Value.Epoch;
            Assert.Equal(retained.Count > 0 ? history.IndexOf(retained[0]) : history.Count, joined.Position!.Value.Offset);
            if (retained.Count == 0) return;
            Run();
            member.ExpectAgain(retained.Where(message => member.Receives(group, message.Number, message.Excluded)));
        }

        Position? AfterOf(string group) =>
            group != ShortHistory && _random.Next(3) == 0 && _epochs.TryGetValue(group, out var epoch) ? new(epoch, _random.Next(HistoryOf(group).Count + 1)) : null;

        async Task LeaveAsync()
        {
            if (_members.Count == 0) return;
            var (member, group) = (Any(_members), Any(_groups));
            Assert.Equal(member.Groups.Remove(group), await AnyNode.LeaveAsync(member.Connection.Id, group, TestContext.Current.CancellationToken));
            member.AppFilters.Remove(group);
        }

        void Disconnect()
        {
            if (_members.Count == 0) return;
            Run();
            var member = Any(_members);
            member.Check(_steps);
            member.Listener.Disconnect();
            _members.Remove(member);
        }

        async Task ForgetAsync()
        {
            if (_random.Next(2) == 0) Run();
            _cluster.Forget();
            _history.Clear();
            _epochs.Clear();
            foreach (var broadcast in _broadcasts) await broadcast.Cluster!.InboxOpening;
            Run();
            foreach (var member in _members)
            {
                member.CheckLost(_steps);
                member.Listener.Disconnect();
            }

            _members.Clear();
            Run();
        }

        async Task PublishAsync()
        {
            var number = ++_last;
            var recipients = _random.Next(10) switch
            {
                < 4 => Recipients.Group(Any(_groups)),
                < 6 => Recipients.Everyone,
                < 8 => Recipients.Groups([.. _groups.Where(_ => _random.Next(2) == 0)]),
                8 => Recipients.User(Any(_users) ?? "nobody"),
                _ => Recipients.Connection(_members.Count == 0 ? "nobody" : Any(_members).Connection.Id),
            };
            string[] excluded = [.. _members.Where(_ => _random.Next(6) == 0).Select(static member => member.Connection.Id)];
            var from = AnyNode;
            var key = _random.Next(3) == 0 ? $"key {_random.Next(3)}" : null;
            var message = new Message(BitConverter.GetBytes(number), MessageType.Binary)
            {
                Key = key, RemoveKey = key is not null && _random.Next(4) == 0, Tags = ModelFilter.TagsOf(number),
            };
            var result = await from.PublishAsync(message, recipients.Except(excluded), TestContext.Current.CancellationToken);

            if (recipients.Kind is RecipientsKind.Group or RecipientsKind.Groups)
            {
                foreach (var group in recipients.Names) HistoryOf(group).Add(new(number, excluded, recipients.Names.Count > 1, key, message.RemoveKey));
            }

            if (recipients.Kind == RecipientsKind.Group) Assert.Equal(HistoryOf(recipients.Name!).Count, result.Position!.Value.Offset);
            var local = 0;
            foreach (var member in _members.Where(member => !excluded.Contains(member.Connection.Id)))
            {
                var memberships = recipients.Kind switch
                {
                    RecipientsKind.Everyone => 1,
                    RecipientsKind.User => member.User == recipients.Name ? 1 : 0,
                    RecipientsKind.Connection => member.Connection.Id == recipients.Name ? 1 : 0,
                    _ => recipients.Names.Count(member.Groups.Contains),
                };
                var accepting = recipients.Kind switch
                {
                    RecipientsKind.Everyone => member.AppFilters[""].Accepts(number),
                    RecipientsKind.User or RecipientsKind.Connection => true,
                    _ => recipients.Names.Any(name => member.Receives(name, number, [])),
                };
                if (memberships > 0 && accepting) member.Expect([number]);
                if (member.Engine == from) local += memberships;
            }

            Assert.Equal(local, result.LocalRecipients);
        }

        void Run()
        {
            foreach (var broadcast in _broadcasts) broadcast.RunUntilIdle();
        }

        /// <summary>
        /// Returns the retained message of each key, oldest first. A removed key has no retained message.
        /// </summary>
        List<Entry> RetainedOf(string group)
        {
            if (!_retainingGroups.Contains(group)) return [];
            var newest = HistoryOf(group).Where(static entry => entry.Key is not null).GroupBy(static entry => entry.Key).Select(static entries => entries.Last());
            return [.. newest.Where(static entry => !entry.Removes).OrderBy(static entry => entry.Number)];
        }

        List<Entry> HistoryOf(string group)
        {
            if (!_history.TryGetValue(group, out var history)) _history.Add(group, history = []);
            return history;
        }

        T Any<T>(IReadOnlyList<T> things) => things[_random.Next(things.Count)];
    }

    sealed record Entry(int Number, string[] Excluded, bool IsShared, string? Key, bool Removes);

    sealed class Member(TestEngine broadcast, Listener listener, string? user)
    {
        readonly List<int> _expected = [];

        public TestEngine Engine => broadcast;

        public Listener Listener => listener;

        public Connection Connection => listener.Connection;

        public string? User => user;

        public HashSet<string> Groups { get; } = [];

        public Dictionary<string, ModelFilter> AppFilters { get; } = [];

        public Dictionary<string, ModelFilter> ClientFilters { get; } = [];

        public bool Receives(string group, int number, string[] excluded) =>
            Groups.Contains(group) && !excluded.Contains(Connection.Id)
            && AppFilters.GetValueOrDefault(group, ModelFilter.None).Accepts(number)
            && ClientFilters.GetValueOrDefault(group, ModelFilter.None).Accepts(number);

        public void Expect(IEnumerable<int> numbers) => _expected.AddRange(numbers);

        /// <summary>
        /// Asserts that the member received the replayed messages. The member may skip a copy that it received through
        /// another group.
        /// </summary>
        public void ExpectAgain(IEnumerable<Entry> replayed)
        {
            foreach (var (number, _, isShared, _, _) in replayed)
            {
                var isSkipped = isShared && _expected.Contains(number) && listener.Got.ElementAtOrDefault(_expected.Count) != number;
                if (!isSkipped) _expected.Add(number);
            }

            Assert.Equal(_expected, listener.Got);
        }

        public void Check(int step)
        {
            Assert.Equal((step, null), (step, listener.Problem ?? listener.Sink.Violation));
            Assert.Equal(_expected, listener.Got);
            Assert.Null(Connection.Writer.ClosingStatus);
        }

        public void CheckLost(int step)
        {
            Assert.Equal((step, null), (step, listener.Problem ?? listener.Sink.Violation));
            Assert.Equal(_expected.Take(listener.Got.Count), listener.Got);
            Assert.Equal(CloseStatus.TryAgainLater, listener.Sink.Closed);
        }
    }
}
