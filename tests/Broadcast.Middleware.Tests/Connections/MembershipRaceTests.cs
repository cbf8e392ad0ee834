namespace Broadcast.Middleware.Tests.Connections;

public sealed class MembershipRaceTests
{
    [Fact]
    public async Task Leave_DuringJoin_KeepsRegistryAndDeliveryConsistent()
    {
        var token = TestContext.Current.CancellationToken;
        var registry = new InterruptedRegistry();
        await using var app = await InMemoryApp.StartManualAsync(registry: registry);
        var (_, connection) = await app.ConnectAsync(new ScriptedSocket());
        registry.AfterJoining = group => group == "g" && app.Broadcaster.LeaveAsync(connection.Id, "g", token).AsTask().GetAwaiter().GetResult();
        await app.Broadcaster.JoinAsync(connection.Id, "g", token);
        var delivered = (await app.Broadcaster.PublishAsync("x", Recipients.Group("g"), cancellationToken: token)).LocalRecipients;
        Assert.Equal(registry.CountGroupMembers("g"), delivered);
        Assert.Equal(registry.CountGroupMembers("g") == 1, connection.Groups.Contains("g"));
    }

    /// <summary>A wrapper of the default registry that runs a callback after a join, before the join returns.</summary>
    sealed class InterruptedRegistry : IConnectionRegistry
    {
        readonly ConnectionRegistry _inner = new();

        public Func<string, bool>? AfterJoining { get; set; }

        public int Count => _inner.Count;
        public IEnumerable<IBroadcastConnection> Connections => _inner.Connections;
        public bool TryAdd(IBroadcastConnection connection) => _inner.TryAdd(connection);
        public bool Remove(IBroadcastConnection connection) => _inner.Remove(connection);
        public bool Leave(IBroadcastConnection connection, string group) => _inner.Leave(connection, group);
        public IBroadcastConnection? Find(string connectionId) => _inner.Find(connectionId);
        public IEnumerable<IBroadcastConnection> GetUserConnections(string userId) => _inner.GetUserConnections(userId);
        public IEnumerable<IBroadcastConnection> GetGroupMembers(string group) => _inner.GetGroupMembers(group);
        public int CountGroupMembers(string group) => _inner.CountGroupMembers(group);

        public bool TryJoin(IBroadcastConnection connection, string group)
        {
            var joined = _inner.TryJoin(connection, group);
            AfterJoining?.Invoke(group);
            return joined;
        }
    }
}
