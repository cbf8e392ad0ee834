using Broadcast.Middleware.Redis.Members;

namespace Broadcast.Middleware.Redis.Tests.Members;

public sealed class GroupMembersTests
{
    static readonly byte[] Value = [1];

    [Fact]
    public void RequestRewrite_AfterFailedRemoval_WritesTheRemovalAgain()
    {
        var group = CreateWrittenGroup("kept", "removed");
        group.TryChange("removed", null, out _);
        Assert.True(group.TryTakeChanges(out var failed));
        group.Retry(failed);
        group.RequestRewrite();
        Assert.True(group.TryTakeChanges(out var write));
        Assert.False(write.DeletesFirst);
        Assert.Equal(1, write.ExpectedCount);
        Assert.Equal(
            new Dictionary<string, byte[]?> { ["kept"] = Value, ["removed"] = null }, write.Changes.ToDictionary());
    }

    [Fact]
    public void ReplaceAll_WithManyMembers_DeletesFirstAndWritesEachMemberOnce()
    {
        string[] names = [.. Enumerable.Range(0, 1000).Select(i => $"{i}")];
        var group = CreateWrittenGroup(names);
        group.TryChange("removed", null, out _);
        group.ReplaceAll();
        var written = new List<string>();
        while (group.TryTakeChanges(out var write))
        {
            Assert.Equal(written.Count == 0, write.DeletesFirst);
            Assert.All(write.Changes, static change => Assert.Equal(Value, change.Value));
            written.AddRange(write.Changes.Select(static change => change.Key));
        }

        Assert.Equal(names.Order(), written.Order());
    }

    [Fact]
    public void Retry_AfterMemberChanged_WritesTheCurrentValue()
    {
        var group = CreateWrittenGroup();
        group.TryChange("m", Value, out _);
        Assert.True(group.TryTakeChanges(out var failed));
        group.TryChange("m", [2], out _);
        group.Retry(failed);
        Assert.True(group.TryTakeChanges(out var write));
        Assert.Equal([2], Assert.Single(write.Changes).Value);
        Assert.False(group.TryTakeChanges(out _));
    }

    static GroupMembers CreateWrittenGroup(params string[] members)
    {
        var group = new GroupMembers("/a");
        group.RequestRewrite();
        foreach (var member in members) group.TryChange(member, Value, out _);
        while (group.TryTakeChanges(out _))
        {
        }

        return group;
    }
}
