using System.Net;
using System.Security.Claims;

namespace Broadcast.Middleware.Contracts;

/// <summary>
/// Tests the rules that a broadcast expects from an <see cref="IConnectionRegistry"/>. To test your registry, derive
/// from this class in an xunit v3 test project. Return a new, empty registry from <see cref="Create"/>:
/// <code>
/// public sealed class MyRegistryTests : ConnectionRegistryContract
/// {
///     protected override IConnectionRegistry Create() => new MyRegistry();
/// }
/// </code>
/// The registry must admit every connection and allow every join. If your registry has rules of its own, test these
/// rules in another class. The connections in these tests are simple objects with an ID and a user.
/// </summary>
public abstract class ConnectionRegistryContract
{
    const int Threads = 8;

    /// <summary>
    /// Creates an empty registry that admits every connection to every group. A test calls this method one or more
    /// times.
    /// </summary>
    protected abstract IConnectionRegistry Create();

    [Fact]
    public void Registry_New_IsEmpty()
    {
        var registry = Create();
        Assert.Equal(0, registry.Count);
        Assert.Empty(registry.Connections);
        Assert.Null(registry.Find("nobody"));
        Assert.Empty(registry.GetUserConnections("nobody"));
        Assert.Empty(registry.GetGroupMembers("/nowhere"));
        Assert.Equal(0, registry.CountGroupMembers("/nowhere"));
    }

    [Fact]
    public void TryAdd_TwoConnections_AreCountedListedAndFound()
    {
        var registry = Create();
        var (one, two) = (new FakeConnection("ann"), new FakeConnection("bob"));
        Assert.True(registry.TryAdd(one));
        Assert.True(registry.TryAdd(two));
        Assert.Equal(2, registry.Count);
        AssertSame([one, two], registry.Connections);
        Assert.Same(one, registry.Find(one.Id));
        Assert.Same(two, registry.Find(two.Id));
    }

    [Fact]
    public void TryAdd_NewConnection_JoinsNoGroup()
    {
        var registry = Create();
        var one = AddConnection(registry);
        Assert.Empty(registry.GetGroupMembers(one.HomeGroup));
        Assert.Equal(0, registry.CountGroupMembers(one.HomeGroup));
    }

    [Fact]
    public void TryAdd_Twice_ReturnsFalse()
    {
        var registry = Create();
        var one = AddConnection(registry, "ann");
        Assert.False(registry.TryAdd(one));
        Assert.Equal(1, registry.Count);
        AssertSame([one], registry.Connections);
        AssertSame([one], registry.GetUserConnections("ann"));
    }

    [Fact]
    public void ConnectionIds_DifferInCase_AreDistinct()
    {
        var registry = Create();
        var (lower, upper) = (new FakeConnection(null, "same"), new FakeConnection(null, "SAME"));
        Assert.True(registry.TryAdd(lower));
        Assert.True(registry.TryAdd(upper));
        Assert.Same(lower, registry.Find("same"));
        Assert.Same(upper, registry.Find("SAME"));
        Assert.Null(registry.Find("Same"));
    }

    [Fact]
    public void Remove_ConnectionInGroups_RemovesConnectionFromAllListings()
    {
        var registry = Create();
        var (gone, stays) = (AddConnection(registry, "ann"), AddConnection(registry, "ann"));
        string[] groups = ["/a", "/b", "/c"];
        foreach (var group in groups)
        {
            Assert.True(registry.TryJoin(gone, group));
            Assert.True(registry.TryJoin(stays, group));
        }

        Assert.True(registry.Remove(gone));
        Assert.Equal(1, registry.Count);
        AssertSame([stays], registry.Connections);
        Assert.Null(registry.Find(gone.Id));
        AssertSame([stays], registry.GetUserConnections("ann"));
        foreach (var group in groups)
        {
            AssertSame([stays], registry.GetGroupMembers(group));
            Assert.Equal(1, registry.CountGroupMembers(group));
        }
    }

    [Fact]
    public void Remove_Twice_ReturnsFalse()
    {
        var registry = Create();
        var (one, other) = (AddConnection(registry), AddConnection(registry));
        Assert.True(registry.Remove(one));
        Assert.False(registry.Remove(one));
        Assert.Equal(1, registry.Count);
        Assert.Same(other, registry.Find(other.Id));
    }

    [Fact]
    public void Remove_UnknownConnection_ChangesNothing()
    {
        var registry = Create();
        AddConnection(registry);
        Assert.False(registry.Remove(new FakeConnection()));
        Assert.Equal(1, registry.Count);
    }

    [Fact]
    public void TryAdd_RemovedConnection_AddsConnectionWithoutGroups()
    {
        var registry = Create();
        var one = AddConnection(registry);
        Assert.True(registry.TryJoin(one, "/a"));
        Assert.True(registry.Remove(one));
        Assert.True(registry.TryAdd(one));
        Assert.Equal(1, registry.Count);
        Assert.Empty(registry.GetGroupMembers("/a"));
        Assert.True(registry.TryJoin(one, "/a"));
    }

    [Fact]
    public void Calls_NewObjectWithSameIdPerCall_ChangeSameConnection()
    {
        // A registry that wraps this registry may wrap the connection in a new object for each call.
        var registry = Create();
        var added = AddConnection(registry, "ann");
        Assert.False(registry.TryAdd(Wrap()));
        Assert.True(registry.TryJoin(Wrap(), "/a"));
        Assert.True(registry.TryJoin(Wrap(), "/b"));
        Assert.False(registry.TryJoin(Wrap(), "/a"));
        Assert.Equal((1, 1), (registry.CountGroupMembers("/a"), registry.CountGroupMembers("/b")));
        Assert.Equal(added.Id, Assert.Single(registry.GetGroupMembers("/a")).Id);
        Assert.Equal(added.Id, Assert.Single(registry.GetUserConnections("ann")).Id);
        Assert.True(registry.Leave(Wrap(), "/a"));
        Assert.False(registry.Leave(Wrap(), "/a"));
        Assert.Empty(registry.GetGroupMembers("/a"));
        Assert.True(registry.Remove(Wrap()));
        Assert.False(registry.Remove(Wrap()));
        AssertEmpty(registry, "/a", "/b");

        FakeConnection Wrap() => new("ann", added.Id);
    }

    [Fact]
    public void GroupMembers_InTwoGroups_AreCountedAndListed()
    {
        var registry = Create();
        var (one, two, other) = (AddConnection(registry), AddConnection(registry), AddConnection(registry));
        Assert.True(registry.TryJoin(one, "/a"));
        Assert.True(registry.TryJoin(two, "/a"));
        Assert.True(registry.TryJoin(other, "/b"));
        AssertSame([one, two], registry.GetGroupMembers("/a"));
        AssertSame([other], registry.GetGroupMembers("/b"));
        Assert.Equal(2, registry.CountGroupMembers("/a"));
        Assert.Equal(1, registry.CountGroupMembers("/b"));
        Assert.Equal(3, registry.Count);
    }

    [Fact]
    public void GroupNames_DifferInCase_AreDistinct()
    {
        var registry = Create();
        var one = AddConnection(registry);
        Assert.True(registry.TryJoin(one, "/a"));
        Assert.True(registry.TryJoin(one, "/A"));
        Assert.True(registry.Leave(one, "/a"));
        Assert.Equal(0, registry.CountGroupMembers("/a"));
        Assert.Equal(1, registry.CountGroupMembers("/A"));
    }

    [Fact]
    public void TryJoin_Twice_ReturnsFalse()
    {
        var registry = Create();
        var one = AddConnection(registry);
        Assert.True(registry.TryJoin(one, "/a"));
        Assert.False(registry.TryJoin(one, "/a"));
        Assert.Equal(1, registry.CountGroupMembers("/a"));
        AssertSame([one], registry.GetGroupMembers("/a"));
    }

    [Fact]
    public void TryJoin_UnknownConnection_ReturnsFalse()
    {
        var registry = Create();
        Assert.False(registry.TryJoin(new FakeConnection(), "/a"));
        var gone = AddConnection(registry);
        registry.Remove(gone);
        Assert.False(registry.TryJoin(gone, "/a"));
        Assert.Equal(0, registry.CountGroupMembers("/a"));
        Assert.Empty(registry.GetGroupMembers("/a"));
    }

    [Fact]
    public void Leave_OneMembership_KeepsOtherMemberships()
    {
        var registry = Create();
        var (one, two) = (AddConnection(registry), AddConnection(registry));
        Assert.True(registry.TryJoin(one, "/a"));
        Assert.True(registry.TryJoin(one, "/b"));
        Assert.True(registry.TryJoin(two, "/a"));
        Assert.True(registry.Leave(one, "/a"));
        AssertSame([two], registry.GetGroupMembers("/a"));
        AssertSame([one], registry.GetGroupMembers("/b"));
        Assert.Equal((1, 1), (registry.CountGroupMembers("/a"), registry.CountGroupMembers("/b")));
        Assert.Equal(2, registry.Count);
    }

    [Fact]
    public void Leave_WithoutMembership_ChangesNothing()
    {
        var registry = Create();
        var (one, two) = (AddConnection(registry), AddConnection(registry));
        Assert.True(registry.TryJoin(one, "/a"));
        Assert.False(registry.Leave(two, "/a"));
        Assert.False(registry.Leave(one, "/b"));
        Assert.False(registry.Leave(new FakeConnection(), "/a"));
        Assert.True(registry.Leave(one, "/a"));
        Assert.False(registry.Leave(one, "/a"));
        registry.Remove(one);
        Assert.False(registry.Leave(one, "/a"));
        Assert.Equal(0, registry.CountGroupMembers("/a"));
    }

    [Fact]
    public void TryJoin_AfterLastMemberLeft_AddsMemberAgain()
    {
        var registry = Create();
        var one = AddConnection(registry);
        for (var i = 0; i < 3; i++)
        {
            Assert.True(registry.TryJoin(one, "/a"));
            AssertSame([one], registry.GetGroupMembers("/a"));
            Assert.True(registry.Leave(one, "/a"));
            Assert.Empty(registry.GetGroupMembers("/a"));
        }
    }

    [Fact]
    public void GetUserConnections_SeveralDevices_ReturnsAllConnectionsOfUser()
    {
        var registry = Create();
        var (phone, laptop, other, anonymous) = (AddConnection(registry, "ann"), AddConnection(registry, "ann"), AddConnection(registry, "bob"), AddConnection(registry));
        AssertSame([phone, laptop], registry.GetUserConnections("ann"));
        AssertSame([other], registry.GetUserConnections("bob"));
        Assert.Same(anonymous, registry.Find(anonymous.Id));
        registry.Remove(phone);
        AssertSame([laptop], registry.GetUserConnections("ann"));
        registry.Remove(laptop);
        Assert.Empty(registry.GetUserConnections("ann"));
        AssertSame([other], registry.GetUserConnections("bob"));
    }

    [Fact]
    public void Listings_WhileRegistryChanges_CanBeRead()
    {
        var registry = Create();
        for (var i = 0; i < 10; i++) Assert.True(registry.TryJoin(AddConnection(registry, "ann"), "/a"));
        Disturb(registry.Connections);
        Disturb(registry.GetUserConnections("ann"));
        Disturb(registry.GetGroupMembers("/a"));

        void Disturb(IEnumerable<IBroadcastConnection> listing)
        {
            foreach (var connection in listing)
            {
                registry.Remove(connection);
                registry.TryJoin(AddConnection(registry, "ann"), "/a");
                if (registry.Count > 100) break;
            }

            Assert.Equal(10, registry.Count);
        }
    }

    [Fact]
    public async Task ConcurrentCalls_WithSameChange_OnlyOneReturnsTrue()
    {
        for (var round = 0; round < 50; round++)
        {
            var registry = Create();
            var one = new FakeConnection("ann");
            Assert.Equal(1, await SuccessesAsync(() => registry.TryAdd(one)));
            Assert.Equal(1, registry.Count);
            Assert.Equal(1, await SuccessesAsync(() => registry.TryJoin(one, "/a")));
            Assert.Equal(1, registry.CountGroupMembers("/a"));
            Assert.Equal(1, await SuccessesAsync(() => registry.Leave(one, "/a")));
            Assert.Equal(0, registry.CountGroupMembers("/a"));
            Assert.True(registry.TryJoin(one, "/a"));
            Assert.Equal(1, await SuccessesAsync(() => registry.Remove(one)));
            AssertEmpty(registry, "/a");
        }
    }

    [Fact]
    public async Task ConcurrentCalls_AddJoinLeaveRemove_LeaveRegistryEmpty()
    {
        var registry = Create();
        string[] groups = ["/a", "/b", "/c"];
        await InParallelAsync(thread =>
        {
            var random = new Random(thread);
            for (var round = 0; round < 500; round++)
            {
                var one = new FakeConnection($"user {random.Next(3)}");
                Assert.True(registry.TryAdd(one));
                Assert.Same(one, registry.Find(one.Id));
                foreach (var group in groups) Assert.True(registry.TryJoin(one, group));
                Assert.Contains(one, registry.GetGroupMembers(groups[random.Next(3)]));
                Assert.Contains(one, registry.GetUserConnections(one.UserId!));
                Assert.Contains(one, registry.Connections);
                if (random.Next(2) == 0) Assert.True(registry.Leave(one, groups[random.Next(3)]));
                Assert.True(registry.Remove(one));
                Assert.False(registry.TryJoin(one, groups[0]));
            }
        });
        AssertEmpty(registry, groups);
    }

    [Fact]
    public async Task Remove_DuringConcurrentJoins_LeavesNoMembership()
    {
        for (var round = 0; round < 100; round++)
        {
            var registry = Create();
            var one = AddConnection(registry, "ann");
            await InParallelAsync(thread =>
            {
                if (thread == 0) Assert.True(registry.Remove(one));
                else registry.TryJoin(one, $"/{thread}");
            });
            AssertEmpty(registry, [.. Enumerable.Range(0, Threads).Select(thread => $"/{thread}")]);
        }
    }

    [Fact]
    public async Task ConcurrentJoinsAndLeaves_OfOneConnection_MatchMemberCount()
    {
        var registry = Create();
        var one = AddConnection(registry);
        var members = 0;
        await InParallelAsync(thread =>
        {
            for (var i = 0; i < 2000; i++)
            {
                if (thread % 2 == 0 ? registry.TryJoin(one, "/a") : registry.Leave(one, "/a"))
                    Interlocked.Add(ref members, thread % 2 == 0 ? 1 : -1);
            }
        });
        Assert.Equal(members, registry.CountGroupMembers("/a"));
        Assert.Equal(members, registry.GetGroupMembers("/a").Count());
    }

    [Fact]
    public void JoinAndLeave_AMillionTimes_LeaksNoMemory()
    {
        // If each round leaked one entry, the entries would use more than 100 MB.
        const long Noise = 48 * 1024 * 1024;
        var registry = Create();
        var one = AddConnection(registry);
        var before = GC.GetTotalMemory(forceFullCollection: true);
        for (var i = 0; i < 1_000_000; i++)
        {
            var group = $"/{i}";
            if (!registry.TryJoin(one, group) || !registry.Leave(one, group)) Assert.Fail($"Round {i} failed.");
        }

        Assert.InRange(GC.GetTotalMemory(forceFullCollection: true) - before, long.MinValue, Noise);
        registry.Remove(one);
        AssertEmpty(registry, "/0", "/999999");
    }

    static FakeConnection AddConnection(IConnectionRegistry registry, string? userId = null)
    {
        var connection = new FakeConnection(userId);
        Assert.True(registry.TryAdd(connection));
        return connection;
    }

    /// <summary>Asserts that the listing contains exactly the expected connection objects, in any order.</summary>
    static void AssertSame(IBroadcastConnection[] expected, IEnumerable<IBroadcastConnection> actual)
    {
        var listed = actual.ToArray();
        Assert.Equal(expected.Length, listed.Length);
        foreach (var connection in expected) Assert.Contains(listed, other => ReferenceEquals(other, connection));
    }

    static void AssertEmpty(IConnectionRegistry registry, params string[] groups)
    {
        Assert.Equal(0, registry.Count);
        Assert.Empty(registry.Connections);
        foreach (var group in groups)
        {
            Assert.Equal(0, registry.CountGroupMembers(group));
            Assert.Empty(registry.GetGroupMembers(group));
        }

        foreach (var user in (string[])["ann", "user 0", "user 1", "user 2"]) Assert.Empty(registry.GetUserConnections(user));
    }

    static async Task<int> SuccessesAsync(Func<bool> act)
    {
        var successes = 0;
        await InParallelAsync(_ =>
        {
            if (act()) Interlocked.Increment(ref successes);
        });
        return successes;
    }

    /// <summary>
    /// Runs the action on several threads that start together. Throws an exception if the action throws on a thread.
    /// </summary>
    static async Task InParallelAsync(Action<int> act)
    {
        using var start = new Barrier(Threads);
        await Task.WhenAll(Enumerable.Range(0, Threads).Select(thread => Task.Factory.StartNew(
            () =>
            {
                start.SignalAndWait();
                act(thread);
            },
            CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default)));
    }

    sealed class FakeConnection(string? userId = null, string? id = null) : IBroadcastConnection
    {
        public string Id { get; } = id ?? Guid.NewGuid().ToString("N");
        public ClaimsPrincipal User { get; } = new();
        public string? UserId => userId;
        public string HomeGroup => "/home";
        public IReadOnlyCollection<string> Groups => [];
        public DateTimeOffset ConnectedAt => DateTimeOffset.UnixEpoch;
        public IPAddress? RemoteAddress => null;
        public IReadOnlyDictionary<string, object?> RouteValues { get; } = new Dictionary<string, object?>();
        public IDictionary<object, object?> Items { get; } = new Dictionary<object, object?>();
        public CancellationToken ConnectionAborted => CancellationToken.None;
    }
}
