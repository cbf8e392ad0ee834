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

    [Fact]
    public void GetGroupMembers_LargeGroupChangesDuringEnumeration_ListsEachRemainingMemberOnce()
    {
        var registry = Create();
        var members = Enumerable.Range(0, 300).Select(_ => AddMember(registry)).ToList();
        var listed = new List<string>();
        foreach (var member in registry.GetGroupMembers("/a"))
        {
            listed.Add(member.Id);
            if (listed.Count > 1) continue;
            Assert.True(registry.Remove(member));
            Assert.True(registry.Remove(members[^1]));
            AddMember(registry);
        }

        Assert.Equal(listed.Count, listed.Distinct().Count());
        Assert.Superset(members.SkipLast(1).Select(static member => member.Id).ToHashSet(), listed.ToHashSet());
        Assert.Equal(299, registry.GetGroupMembers("/a").Count());
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
