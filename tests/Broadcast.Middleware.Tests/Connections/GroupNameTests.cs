namespace Broadcast.Middleware.Tests;

public sealed class GroupNameTests
{
    [Theory]
    [InlineData("a")]
    [InlineData("/rooms/blue")]
    [InlineData(" with spaces, ümlauts and 😀")]
    public void Text_names_a_group(string name) => Assert.Null(GroupName.Problem(name));

    [Theory]
    [InlineData(null)]
    [InlineData("")]
    public void Nothing_names_no_group(string? name) => Assert.Contains("empty", GroupName.Problem(name), StringComparison.Ordinal);

    [Fact]
    public void A_name_has_255_characters_at_most()
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
    public void A_name_breaks_no_line_and_the_error_names_the_character_without_repeating_it(char character, string named)
    {
        var problem = Assert.IsType<string>(GroupName.Problem($"a{character}b"));
        Assert.Contains(named, problem, StringComparison.Ordinal);
        Assert.DoesNotContain(character, problem);
    }

    [Fact]
    public void The_exception_names_the_parameter()
    {
        var room = "";
        Assert.Equal("room", Assert.Throws<ArgumentException>(() => GroupName.ThrowIfInvalid(room)).ParamName);
    }
}
