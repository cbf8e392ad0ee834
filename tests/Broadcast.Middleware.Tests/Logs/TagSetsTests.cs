namespace Broadcast.Middleware.Tests.Logs;

public sealed class TagSetsTests
{
    [Fact]
    public void GetNumbers_EqualTags_ReturnsSameNumber()
    {
        var block = CreateBlock("a", "b", null, "a", null);
        var numbers = block.TagSets.GetNumbers(block, 5);
        Assert.Equal(numbers[0], numbers[3]);
        Assert.Equal(numbers[2], numbers[4]);
        Assert.Equal(3, numbers.ToArray().Distinct().Count());
    }

    [Fact]
    public void GetNumbers_TooManyDifferentTags_ReturnsNoneForFurtherTags()
    {
        var values = Enumerable.Range(0, 100).Select(static i => (string?)$"{i}");
        var block = CreateBlock([null, .. values, .. values]);
        var numbers = block.TagSets.GetNumbers(block, 201).ToArray();
        Assert.Equal(Enumerable.Range(0, 64), numbers[..64].Select(static number => (int)number));
        Assert.All(numbers[64..101], static number => Assert.Equal(TagSets.None, number));
        Assert.Equal(numbers[1..101], numbers[101..]);
    }

    [Fact]
    public void GetNumbers_AfterAppend_KeepsEarlierNumbers()
    {
        var block = new Block(1000, 1, 0);
        for (var i = 0; i < 10; i++) Append(block, $"{i % 7}");
        var first = block.TagSets.GetNumbers(block, 10).ToArray();
        for (var i = 10; i < 200; i++) Append(block, $"{i % 7}");

        var all = block.TagSets.GetNumbers(block, 200).ToArray();

        Assert.Equal(first, all[..10]);
        for (var i = 7; i < all.Length; i++) Assert.Equal(all[i - 7], all[i]);
    }

    static Block CreateBlock(params string?[] values)
    {
        var block = new Block(values.Length * 2, 1, 0);
        foreach (var value in values) Append(block, value);
        return block;
    }

    static void Append(Block block, string? value)
    {
        var message = new Message { Tags = value is null ? null : MessageTags.Create(("value", value)) };
        block.Append(new Message(default, MessageType.Text), 1, 0, EntryMetadata.Create(message, null));
    }
}
