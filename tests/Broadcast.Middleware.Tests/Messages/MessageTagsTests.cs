namespace Broadcast.Middleware.Tests.Messages;

public sealed class MessageTagsTests
{
    [Fact]
    public void Create_ValidTags_KeepsOrderAndValues()
    {
        var tags = MessageTags.Create(("region", "eu"), ("a.b-c_d:9", ""), ("symbol", "Ä B'\""));
        Assert.Equal(3, tags.Count);
        Assert.Equal(("eu", "", "Ä B'\"", null), (tags["region"], tags["a.b-c_d:9"], tags["symbol"], tags["Region"]));
        Assert.Equal(["region", "a.b-c_d:9", "symbol"], tags.Select(tag => tag.Key));
        Assert.Equal("region=eu, a.b-c_d:9=, symbol=Ä B'\"", tags.ToString());
    }

    [Fact]
    public void Equals_SameOrDifferentTags_ComparesKeysAndValues()
    {
        var tags = MessageTags.Create(("a", "1"), ("b", "2"));
        var same = MessageTags.Create(new Dictionary<string, string> { ["a"] = "1", ["b"] = "2" });
        Assert.Equal(tags, same);
        Assert.Equal(tags.GetHashCode(), same.GetHashCode());
        Assert.NotEqual(tags, MessageTags.Create(("a", "1"), ("b", "3")));
        Assert.NotEqual(tags, MessageTags.Create(("a", "1")));
    }

    [Theory]
    [InlineData("", "x", "A tag key has 0 characters. Use 1 to 32 characters.")]
    [InlineData(null, "x", "A tag key has 0 characters. Use 1 to 32 characters.")]
    [InlineData("123456789012345678901234567890123", "x", "A tag key has 33 characters.")]
    [InlineData("a b", "x", "The tag key 'a?b' has an invalid character.")]
    [InlineData("ä", "x", "The tag key '?' has an invalid character.")]
    [InlineData("NOT", "x", "The tag key 'NOT' is a word of the filter syntax.")]
    [InlineData("in", "x", "The tag key 'in' is a word of the filter syntax.")]
    [InlineData("a", null, "The value of a tag is null.")]
    [InlineData("a", "x\n", "The value of a tag has a control character or an unpaired surrogate.")]
    [InlineData("a", "x\u0085", "The value of a tag has a control character or an unpaired surrogate.")]
    public void Create_InvalidTag_Throws(string? key, string? value, string problem)
    {
        var error = Assert.Throws<ArgumentException>(() => MessageTags.Create((key!, value!)));
        Assert.StartsWith(problem, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Create_TooLongValueOrUnpairedSurrogate_Throws()
    {
        Assert.Equal(128, MessageTags.Create(("a", new string('x', 128)))["a"]!.Length);
        Assert.Contains("129 characters. Use at most 128", Assert.Throws<ArgumentException>(() => MessageTags.Create(("a", new string('x', 129)))).Message, StringComparison.Ordinal);
        Assert.Contains("unpaired surrogate", Assert.Throws<ArgumentException>(() => MessageTags.Create(("a", "x\ud800y"))).Message, StringComparison.Ordinal);
        Assert.Equal("x\ud83d\ude00", MessageTags.Create(("a", "x\ud83d\ude00"))["a"]);
    }

    [Fact]
    public void Create_InvalidCountOrDuplicate_Throws()
    {
        static KeyValuePair<string, string>[] Many(int count) => [.. Enumerable.Range(0, count).Select(i => KeyValuePair.Create($"k{i}", "v"))];
        Assert.Equal(16, MessageTags.Create(Many(16)).Count);
        Assert.Contains("17 tags. Use 1 to 16", Assert.Throws<ArgumentException>(() => MessageTags.Create(Many(1_000))).Message, StringComparison.Ordinal);
        Assert.Contains("0 tags. Use 1 to 16", Assert.Throws<ArgumentException>(() => MessageTags.Create(Many(0))).Message, StringComparison.Ordinal);
        Assert.Contains("'a' occurs twice", Assert.Throws<ArgumentException>(() => MessageTags.Create(("a", "1"), ("a", "2"))).Message, StringComparison.Ordinal);
    }
}
