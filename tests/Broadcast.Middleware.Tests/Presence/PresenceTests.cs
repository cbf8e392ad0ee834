using System.Collections.Concurrent;
using System.Text;
using CsCheck;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using NSubstitute;

namespace Broadcast.Middleware.Tests.Presence;

/// <summary>Tests the members of a group, their states, and the changes that watchers receive.</summary>
public sealed class PresenceTests
{
    const string Group = "/rooms/blue";

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task GetMembers_SeveralMembers_ListsUsersAndStates()
    {
        await using var app = await TestHosts.StartAsync();
        var presence = app.Services.GetRequiredService<IPresence>();
        await using var ann = await app.ConnectAsync(userId: "ann");
        await using var annToo = await app.ConnectAsync(userId: "ann");
        await using var anonymous = await app.ConnectAsync();

        Assert.True(await presence.SetStateAsync(ann.Id, "/ws", "away"u8.ToArray(), Token));

        Assert.Equal(3, await presence.CountAsync("/ws", Token));
        var members = (await presence.GetMembersAsync("/ws", Token)).ToDictionary(member => member.ConnectionId, member => (member.UserId, Text(member)));
        Assert.Equal(new() { [ann.Id] = ("ann", "away"), [annToo.Id] = ("ann", ""), [anonymous.Id] = (null, "") }, members);
        Assert.Equal(0, await presence.CountAsync("nowhere", Token));
        Assert.Empty(await presence.GetMembersAsync("nowhere", Token));
        await ann.CloseAsync();
        // The registry first removes the connection from the list of connections, and then from the groups. Wait for
        // both removals.
        await Eventually.True(() => app.Registry.Count == 2 && app.Registry.CountGroupMembers("/ws") == 2);
        Assert.Equal(2, await presence.CountAsync("/ws", Token));
        Assert.All(await presence.GetMembersAsync("/ws", Token), member => Assert.Equal(0, member.State.Length));
    }

    [Fact]
    public async Task GetMembers_RegistryListsUnknownId_IgnoresId()
    {
        var stranger = Substitute.For<IBroadcastConnection>();
        stranger.Id.Returns("unknown");
        using var stage = new TestEngine(registry: new FaultyRegistry { OnFind = found => found.Append(stranger) });
        var connection = stage.Connect(stage.Pumps[0], Group, new ManualSink());
        await using var changes = stage.Presence.WatchAsync(Group, Token).GetAsyncEnumerator(Token);

        Assert.Equal(connection.Id, Assert.Single(await stage.Presence.GetMembersAsync(Group, Token)).ConnectionId);
        Assert.True(await changes.MoveNextAsync());
        Assert.Equal(connection.Id, changes.Current.Member.ConnectionId);
        Assert.True(connection.Leave(Group));
        Assert.True(await changes.MoveNextAsync());
        Assert.Equal(PresenceChangeKind.Left, changes.Current.Kind);
    }

    [Fact]
    public async Task SetState_Member_SetsReplacesAndClearsStatePerGroup()
    {
        using var stage = new TestEngine();
        var (presence, connection) = (stage.Presence, stage.Connect(stage.Pumps[0], Group, new ManualSink()));
        Assert.True(connection.Join("other").Joined);
        var state = "one"u8.ToArray();

        Assert.True(await presence.SetStateAsync(connection.Id, Group, state, Token));
        state[0] = (byte)'X';
        Assert.Equal("one", await StateAsync(Group));
        Assert.Equal("", await StateAsync("other"));
        Assert.True(await presence.SetStateAsync(connection.Id, Group, new byte[stage.Options.MaxPresenceStateBytes], Token));
        var error = await Assert.ThrowsAsync<ArgumentException>(async () =>
            await presence.SetStateAsync(connection.Id, Group, new byte[stage.Options.MaxPresenceStateBytes + 1], Token));
        Assert.Contains(nameof(BroadcastOptions.MaxPresenceStateBytes), error.Message, StringComparison.Ordinal);
        Assert.Equal(stage.Options.MaxPresenceStateBytes, (await StateAsync(Group)).Length);
        Assert.True(await presence.SetStateAsync(connection.Id, Group, default, Token));
        Assert.Equal("", await StateAsync(Group));

        Assert.False(await presence.SetStateAsync(connection.Id, "elsewhere", state, Token));
        Assert.False(await presence.SetStateAsync("no such connection", Group, state, Token));
        Assert.Empty(await presence.GetMembersAsync("elsewhere", Token));

        async Task<string> StateAsync(string group) => Text(Assert.Single(await presence.GetMembersAsync(group, Token)));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task MemberState_MembershipEnds_IsRemoved(bool isRemoved)
    {
        using var stage = new TestEngine();
        var (presence, connection) = (stage.Presence, stage.Connect(stage.Pumps[0], Group, new ManualSink()));
        Assert.True(await presence.SetStateAsync(connection.Id, Group, "one"u8.ToArray(), Token));

        if (isRemoved) stage.Remove(connection);
        else Assert.True(connection.Leave(Group));

        Assert.False(await presence.SetStateAsync(connection.Id, Group, "two"u8.ToArray(), Token));
        if (isRemoved) return;
        Assert.True(connection.Join(Group).Joined);
        Assert.Equal("", Text(Assert.Single(await presence.GetMembersAsync(Group, Token))));
    }

    [Theory]
    [InlineData(null)]
    [InlineData("")]
    [InlineData("a\nb")]
    [InlineData("a\u2028b")]
    public async Task Presence_InvalidGroupNameOrConnectionId_Throws(string? name)
    {
        using var stage = new TestEngine();
        var presence = stage.Presence;
        await Assert.ThrowsAnyAsync<ArgumentException>(async () => await presence.CountAsync(name!, Token));
        await Assert.ThrowsAnyAsync<ArgumentException>(async () => await presence.GetMembersAsync(name!, Token));
        await Assert.ThrowsAnyAsync<ArgumentException>(async () => await presence.SetStateAsync("x", name!, default, Token));
        Assert.ThrowsAny<ArgumentException>(() => presence.WatchAsync(name!, Token));
        await Assert.ThrowsAnyAsync<ArgumentException>(async () => await presence.SetStateAsync("", Group, default, Token));
    }

    [Fact]
    public async Task Presence_CanceledToken_ThrowsAndChangesNothing()
    {
        using var stage = new TestEngine();
        var (presence, connection) = (stage.Presence, stage.Connect(stage.Pumps[0], Group, new ManualSink()));
        var cancelled = new CancellationToken(canceled: true);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () => await presence.CountAsync(Group, cancelled));
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () => await presence.GetMembersAsync(Group, cancelled));
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () => await presence.SetStateAsync(connection.Id, Group, "x"u8.ToArray(), cancelled));
        Assert.Equal(0, Assert.Single(await presence.GetMembersAsync(Group, Token)).State.Length);
    }

    [Fact]
    public async Task Watch_MembersJoinChangeAndLeave_ReportsEachChange()
    {
        using var stage = new TestEngine();
        var presence = stage.Presence;
        var one = stage.Connect(stage.Pumps[0], Group, new ManualSink());
        await presence.SetStateAsync(one.Id, Group, "1"u8.ToArray(), Token);
        await using var watch = presence.WatchAsync(Group, Token).GetAsyncEnumerator(Token);

        Assert.Equal((PresenceChangeKind.Joined, one.Id, "1"), await NextAsync());
        var two = stage.Connect(stage.Pumps[0], Group, new ManualSink());
        Assert.Equal((PresenceChangeKind.Joined, two.Id, ""), await NextAsync());
        await presence.SetStateAsync(two.Id, Group, "2"u8.ToArray(), Token);
        Assert.Equal((PresenceChangeKind.StateChanged, two.Id, "2"), await NextAsync());
        await presence.SetStateAsync(two.Id, Group, "2"u8.ToArray(), Token);
        one.Leave(Group);
        Assert.Equal((PresenceChangeKind.Left, one.Id, "1"), await NextAsync());
        stage.Remove(two);
        Assert.Equal((PresenceChangeKind.Left, two.Id, "2"), await NextAsync());
        Assert.True(one.Join(Group).Joined);
        Assert.Equal((PresenceChangeKind.Joined, one.Id, ""), await NextAsync());

        async Task<(PresenceChangeKind, string, string)> NextAsync()
        {
            Assert.True(await watch.MoveNextAsync().AsTask().WaitAsync(Eventually.Patience, Token));
            return (watch.Current.Kind, watch.Current.Member.ConnectionId, Text(watch.Current.Member));
        }
    }

    [Fact]
    public void Watcher_SlowReader_ReportsOnlyTheLatestChanges()
    {
        var (first, watcher) = (new PresenceMember("first", null, "0"u8.ToArray()), new PresenceWatcher());
        watcher.Notify("first", first);
        Assert.Equal(PresenceChangeKind.Joined, Assert.Single(watcher.Take()).Kind);

        for (var i = 1; i <= 1_000; i++) watcher.Notify("first", new("first", null, Encoding.UTF8.GetBytes($"{i}")));
        watcher.Notify("second", new("second", null, default));
        watcher.Notify("second", null);
        var change = Assert.Single(watcher.Take());
        Assert.Equal((PresenceChangeKind.StateChanged, "1000"), (change.Kind, Text(change.Member)));

        watcher.Notify("first", null);
        watcher.Notify("first", new("first", null, "1000"u8.ToArray()));
        Assert.Empty(watcher.Take());
    }

    [Fact]
    public async Task Watch_Canceled_StopsTrackingTheGroup()
    {
        using var stage = new TestEngine();
        var presence = stage.Presence;
        using var cancel = new CancellationTokenSource();
        var watches = Enumerable.Range(0, 50).Select(_ => Assert.ThrowsAnyAsync<OperationCanceledException>(async () =>
        {
            await foreach (var _ in presence.WatchAsync(Group, cancel.Token))
            {
            }
        })).ToArray();

        await cancel.CancelAsync();

        await Task.WhenAll(watches);
        Assert.Equal(0, Followed(presence));
        await using (var unused = presence.WatchAsync(Group, Token).GetAsyncEnumerator(Token)) { }
        Assert.Equal(0, Followed(presence));
        var connection = stage.Connect(stage.Pumps[0], Group, new ManualSink());
        await foreach (var _ in presence.WatchAsync(Group, Token)) break;
        await presence.SetStateAsync(connection.Id, Group, "x"u8.ToArray(), Token);
        Assert.Equal(1, Followed(presence));
        stage.Remove(connection);
        Assert.Equal(0, Followed(presence));
    }

    [Fact]
    public async Task Watch_CanceledDuringConstantChanges_Ends()
    {
        using var stage = new TestEngine();
        var (presence, connection) = (stage.Presence, stage.Connect(stage.Pumps[0], Group, new ManualSink()));
        using var cancel = new CancellationTokenSource();
        var changes = 0;
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () =>
        {
            await foreach (var _ in presence.WatchAsync(Group, cancel.Token))
            {
                if (++changes == 3) await cancel.CancelAsync();
                Assert.True(changes < 10, "The watch continues after the cancellation.");
                await presence.SetStateAsync(connection.Id, Group, Encoding.UTF8.GetBytes($"{changes}"), Token);
            }
        });
    }

    [Fact]
    public async Task Watch_StartsDuringRemoval_DropsTheRemovedMember()
    {
        // The server removes a connection from its groups and then from the registry. This watch starts between these two steps.
        using var registry = new SlowToForget();
        using var stage = new TestEngine(registry: registry);
        var (presence, connection) = (stage.Presence, stage.Connect(stage.Pumps[0], Group, new ManualSink()));
        var removing = Task.Run(() => stage.Remove(connection), Token);
        await registry.Forgetting.Task.WaitAsync(Eventually.Patience, Token);
        await using var watch = presence.WatchAsync(Group, Token).GetAsyncEnumerator(Token);
        var next = watch.MoveNextAsync().AsTask();
        registry.Go();
        await removing;

        var picture = new Picture();
        var last = stage.Connect(stage.Pumps[0], Group, new ManualSink());
        while (true)
        {
            Assert.True(await next.WaitAsync(Eventually.Patience, Token));
            picture.Apply(watch.Current);
            if (picture.Has(last.Id)) break;
            next = watch.MoveNextAsync().AsTask();
        }

        Assert.Equal([(last.Id, "")], picture.Members);
    }

    [Fact]
    public void Watch_RandomChanges_MatchesTheRegistry() =>
        Gen.Select(Gen.Int[0, 4], Gen.Int[0, 3], Gen.Int[0, 99]).Array[1, 120].Sample(
            steps =>
            {
                using var stage = new TestEngine();
                var presence = stage.Presence;
                var connections = new Connection?[4];
                var (watcher, picture) = (presence.WatchAsync(Group, Token).GetAsyncEnumerator(Token), new Picture());
                ValueTask<bool> next = default;
                var isWaiting = false;
                foreach (var (step, who, state) in steps)
                {
                    switch (step)
                    {
                        case 0:
                            connections[who] ??= stage.Connect(stage.Pumps[0], "elsewhere", new ManualSink());
                            connections[who]!.Join(Group);
                            break;
                        case 1:
                            connections[who]?.Leave(Group);
                            break;
                        case 2:
                            if (connections[who] is { } connection) stage.Remove(connection);
                            connections[who] = null;
                            break;
                        case 3:
                            if (connections[who] is { } member) stage.SetState(member, Group, Encoding.UTF8.GetBytes(state < 30 ? "" : $"{state % 3}"));
                            break;
                        default:
                            Look();
                            break;
                    }
                }

                // Each call of Look takes at most one change, so take all remaining changes at the end.
                var last = stage.Connect(stage.Pumps[0], Group, new ManualSink());
                var started = TimeProvider.System.GetTimestamp();
                while (!picture.Has(last.Id))
                {
                    Look();
                    if (TimeProvider.System.GetElapsedTime(started) > Eventually.Patience) Assert.Fail("The last member does not arrive.");
                    Thread.Yield();
                }

                // The watch reports the first members in any order, so further changes may follow the last member.
                do Look();
                while (!isWaiting);
                AssertSame(MembersOf(presence), picture);

                void Look()
                {
                    if (!isWaiting) next = watcher.MoveNextAsync();
                    isWaiting = !next.IsCompleted;
                    if (isWaiting) return;
                    Assert.True(next.Result);
                    picture.Apply(watcher.Current);
                }
            },
            iter: 200 * Effort.Factor, threads: 1);

    [Fact]
    public async Task Watch_ConcurrentChanges_AllWatchersEndWithSameMembers()
    {
        const int Workers = 4, Rounds = 1_500, Watchers = 12;
        using var stage = new TestEngine();
        var presence = stage.Presence;
        var token = Token;
        var pictures = new ConcurrentQueue<Picture>();
        var watching = new List<Task>();
        var working = Enumerable.Range(0, Workers).Select(worker => Task.Run(() =>
        {
            var random = new Random(worker);
            Connection? connection = null;
            for (var i = 0; i < Rounds * Effort.Factor; i++)
            {
                connection ??= stage.Connect(stage.Pumps[0], random.Next(2) == 0 ? Group : "elsewhere", new ManualSink());
                switch (random.Next(8))
                {
                    case 0 or 1:
                        connection.Join(Group);
                        break;
                    case 2:
                        connection.Leave(Group);
                        break;
                    case 3 or 4:
                        stage.Remove(connection);
                        connection = null;
                        break;
                    default:
                        stage.SetState(connection, Group, Encoding.UTF8.GetBytes($"{random.Next(5)}"));
                        break;
                }
            }
        }, token)).ToArray();
        for (var i = 0; i < Watchers; i++)
        {
            watching.Add(WatchAsync(i));
            await Task.Yield();
        }

        while (!Array.TrueForAll(working, worker => worker.IsCompleted))
        {
            watching.Add(WatchAsync(watching.Count));
            await Task.Delay(5, token);
        }

        await Task.WhenAll(working);
        var last = stage.Connect(stage.Pumps[0], Group, new ManualSink());
        stage.SetState(last, Group, "last"u8.ToArray());
        await Task.WhenAll(watching);

        var members = await presence.GetMembersAsync(Group, token);
        Assert.Equal(stage.Connections.CountGroupMembers(Group), members.Count);
        Assert.Equal(watching.Count, pictures.Count);
        Assert.All(pictures, picture => AssertSame(members, picture));

        // Watches until the last state arrives, and then takes further changes of the same batch. Every third watcher is slow.
        async Task WatchAsync(int number)
        {
            var picture = new Picture();
            using var cancel = CancellationTokenSource.CreateLinkedTokenSource(token);
            await using var watch = presence.WatchAsync(Group, cancel.Token).GetAsyncEnumerator(token);
            while (!picture.HasState("last"))
            {
                Assert.True(await watch.MoveNextAsync().AsTask().WaitAsync(Eventually.Patience, token));
                picture.Apply(watch.Current);
                if (number % 3 == 0) await Task.Yield();
            }

            var next = watch.MoveNextAsync().AsTask();
            for (; next.IsCompleted; next = watch.MoveNextAsync().AsTask()) picture.Apply(watch.Current);
            await cancel.CancelAsync();
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => next);
            pictures.Enqueue(picture);
        }
    }

    [Fact]
    public async Task Presence_OfNamedBroadcast_IsSeparate()
    {
        await using var app = await TestHosts.StartAsync(
            builder => builder.Services.AddBroadcast("chat"),
            map =>
            {
                map.MapBroadcast("/ws");
                map.MapBroadcast("/chat", "chat");
            });
        await using var device = await app.ConnectAsync("/chat");
        var (own, other) = (app.Services.GetRequiredKeyedService<IPresence>("chat"), app.Services.GetRequiredService<IPresence>());

        Assert.Equal(1, await own.CountAsync("/chat", Token));
        Assert.True(await own.SetStateAsync(device.Id, "/chat", "x"u8.ToArray(), Token));
        Assert.Equal(0, await other.CountAsync("/chat", Token));
        Assert.False(await other.SetStateAsync(device.Id, "/chat", "x"u8.ToArray(), Token));
        Assert.Same(own, app.Services.GetRequiredKeyedService<IPresence>("chat"));
    }

    static IReadOnlyList<PresenceMember> MembersOf(IPresence presence) => presence.GetMembersAsync(Group, Token).AsTask().GetAwaiter().GetResult();

    /// <summary>The number of groups that have states or watchers.</summary>
    static int Followed(IPresence presence) => Presences.Followed(presence);

    static string Text(PresenceMember member) => Encoding.UTF8.GetString(member.State.Span);

    static void AssertSame(IEnumerable<PresenceMember> members, Picture picture) =>
        Assert.Equal(members.Select(member => (member.ConnectionId, Text(member))).Order(), picture.Members.Order());

    /// <summary>The members that a watcher knows from the received changes. Fails on an impossible change.</summary>
    sealed class Picture
    {
        readonly Dictionary<string, string> _states = [];

        public IEnumerable<(string, string)> Members => _states.Select(member => (member.Key, member.Value));

        public bool Has(string id) => _states.ContainsKey(id);

        public bool HasState(string state) => _states.ContainsValue(state);

        public void Apply(PresenceChange change)
        {
            var (id, state) = (change.Member.ConnectionId, Text(change.Member));
            switch (change.Kind)
            {
                case PresenceChangeKind.Joined:
                    Assert.True(_states.TryAdd(id, state), "A member joined twice.");
                    break;
                case PresenceChangeKind.StateChanged:
                    Assert.True(_states.ContainsKey(id), "The state of an unknown member changed.");
                    Assert.NotEqual(_states[id], state);
                    _states[id] = state;
                    break;
                default:
                    Assert.Equal(_states[id], state);
                    Assert.True(_states.Remove(id), "An unknown member left.");
                    break;
            }
        }
    }

    /// <summary>A wrapper of the default registry. Remove waits until the test calls Go.</summary>
    sealed class SlowToForget : IConnectionRegistry, IDisposable
    {
        readonly ConnectionRegistry _registry = new();
        readonly ManualResetEventSlim _go = new();

        public TaskCompletionSource Forgetting { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public int Count => _registry.Count;

        public IEnumerable<IBroadcastConnection> Connections => _registry.Connections;

        public bool TryAdd(IBroadcastConnection connection) => _registry.TryAdd(connection);

        public bool Remove(IBroadcastConnection connection)
        {
            Forgetting.TrySetResult();
            _go.Wait(Eventually.Patience, Token);
            return _registry.Remove(connection);
        }

        public bool TryJoin(IBroadcastConnection connection, string group) => _registry.TryJoin(connection, group);

        public bool Leave(IBroadcastConnection connection, string group) => _registry.Leave(connection, group);

        public IBroadcastConnection? Find(string connectionId) => _registry.Find(connectionId);

        public IEnumerable<IBroadcastConnection> GetUserConnections(string userId) => _registry.GetUserConnections(userId);

        public IEnumerable<IBroadcastConnection> GetGroupMembers(string group) => _registry.GetGroupMembers(group);

        public int CountGroupMembers(string group) => _registry.CountGroupMembers(group);

        public void Go() => _go.Set();

        public void Dispose() => _go.Dispose();
    }
}
