namespace Broadcast.Middleware.Tests;

public sealed class ExclusionsTests
{
    [Fact]
    public void Exclusions_OneId_IsFoundByValue()
    {
        var one = new Exclusions("abc");
        Assert.True(one.Contains(string.Concat("a", "bc")));
        Assert.False(one.Contains("ABC"));
        Assert.Equal(["abc"], one.ConnectionIds);
    }

    [Fact]
    public void Exclusions_SeveralIds_AreFoundAndListedOnce()
    {
        var several = new Exclusions("a", "b", "a");
        Assert.True(several.Contains("a") && several.Contains("b"));
        Assert.False(several.Contains("c") || several.Contains("B"));
        Assert.Equal(["a", "b"], several.ConnectionIds.Order(StringComparer.Ordinal));
    }
}
