using Broadcast.Middleware.Contracts;
using NSubstitute;

namespace Broadcast.Middleware.Tests.Connections;

/// <summary>
/// Tests the default registry. No other test runs in parallel, because the contract suite measures the heap, which all
/// tests share.
/// </summary>
[Collection(nameof(NotParallelCollection))]
public sealed class ConnectionRegistryTests : ConnectionRegistryContract
{
    protected override IConnectionRegistry Create() => new ConnectionRegistry();

    [Fact]
    public void Remove_UserHasChanged_RemovesConnectionFromEarlierUser()
    {
        var registry = Create();
        var connection = AddMember(registry);
        connection.UserId.Returns("bob");
        Assert.True(registry.Remove(connection));
        Assert.Empty(registry.GetUserConnections("ann"));
    }

    static IBroadcastConnection AddMember(IConnectionRegistry registry)
    {
        var connection = Substitute.For<IBroadcastConnection>();
        connection.Id.Returns(Guid.NewGuid().ToString("N"));
        connection.UserId.Returns("ann");
        Assert.True(registry.TryAdd(connection) && registry.TryJoin(connection, "/a"));
        return connection;
    }
}
