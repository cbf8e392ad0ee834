namespace Broadcast.Middleware.Tests.Messages;

public sealed class GroupNameTests
{
    [Theory]
    [InlineData("a")]
    [InlineData("/rooms/blue")]
    [InlineData(" with spaces, ümlauts and 😀")]
    public void Problem_ValidName_IsNull(string name) => Assert.Null(GroupName.Problem(name));

    [Theory]
    [InlineData(null)]
    [InlineData("")]
    public void Problem_EmptyName_IsReported(string? name) => Assert.Contains("empty", GroupName.Problem(name), StringComparison.Ordinal);

    [Fact]
    public void Problem_LongerThan255Characters_IsReported()
    {
        Assert.Null(GroupName.Problem(new string('x', 255)));
        Assert.Contains("256", GroupName.Problem(new string('x', 256)), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData('\0', "U+0000")]
    [InlineData('\n', "U+000A")]
    [InlineData('\r', "U+000D")]
    [InlineData('\u001b', "U+001B")]
    [InlineData('\u007f', "U+007F")]
    [InlineData('\u0085', "U+0085")]
    [InlineData('\u2028', "U+2028")]
    [InlineData('\u2029', "U+2029")]
    public void Problem_ControlCharacter_NamesCodePointWithoutCharacter(char character, string named)
    {
        var problem = Assert.IsType<string>(GroupName.Problem($"a{character}b"));
        Assert.Contains(named, problem, StringComparison.Ordinal);
        Assert.DoesNotContain(character, problem);
    }

    [Fact]
    public void ThrowIfInvalid_InvalidName_NamesParameter()
    {
        var room = "";
        Assert.Equal("room", Assert.Throws<ArgumentException>(() => GroupName.ThrowIfInvalid(room)).ParamName);
    }
}
