namespace Broadcast.Middleware.Tests.Messages;

public sealed class ExcludedConnectionsTests
{
    [Fact]
    public void ExcludedConnections_OneId_IsFoundByValue()
    {
        var one = new ExcludedConnections("abc");
        Assert.True(one.Contains(string.Concat("a", "bc")));
        Assert.False(one.Contains("ABC"));
        Assert.Equal(["abc"], one.Ids);
    }

    [Fact]
    public void ExcludedConnections_SeveralIds_AreFoundAndListedOnce()
    {
        var several = new ExcludedConnections("a", "b", "a");
        Assert.True(several.Contains("a") && several.Contains("b"));
        Assert.False(several.Contains("c") || several.Contains("B"));
        Assert.Equal(["a", "b"], several.Ids.Order(StringComparer.Ordinal));
    }
}
