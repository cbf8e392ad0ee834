namespace Broadcast.Middleware.Tests;

public sealed class ExclusionsTests
{
    [Fact]
    public void One_is_found_by_its_text()
    {
        var one = new Exclusions("abc");
        Assert.True(one.Contains(string.Concat("a", "bc")));
        Assert.False(one.Contains("ABC"));
        Assert.Equal(["abc"], one.ConnectionIds);
    }

    [Fact]
    public void Of_several_each_is_found_and_listed_once()
    {
        var several = new Exclusions("a", "b", "a");
        Assert.True(several.Contains("a") && several.Contains("b"));
        Assert.False(several.Contains("c") || several.Contains("B"));
        Assert.Equal(["a", "b"], several.ConnectionIds.Order(StringComparer.Ordinal));
    }
}
