namespace Broadcast.Middleware.Tests.Clustering;

public sealed class CopyTrackerTests
{
    static readonly DateTimeOffset Start = new(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);
    static readonly TimeSpan Window = TimeSpan.FromMinutes(5);

    readonly CopyTracker _copies = new(Window);

    [Fact]
    public void Add_CopyInOtherGroup_LinksToFirstCopy()
    {
        var first = _copies.Add(7, Start, "/a", new(1, 1));
        var retry = _copies.Add(7, Start + Window / 2, "/b", new(2, 9));

        Assert.Null(first.Earlier);
        Assert.Same(first, retry.Earlier);
        Assert.Equal(first.Id, retry.Id);
    }

    [Fact]
    public void Add_SameCopyAgain_ReturnsKnownCopy()
    {
        var first = _copies.Add(7, Start, "/a", new(1, 1));
        _copies.Add(7, Start, "/b", new(2, 9));

        Assert.Same(first, _copies.Add(7, Start, "/a", new(1, 1)));
    }

    [Theory]
    [InlineData("/b")]
    [InlineData("/a")]
    public void Add_SameIdAfterWindow_BelongsToNewMessage(string group)
    {
        var old = _copies.Add(7, Start, "/a", new(1, 1));
        var copy = _copies.Add(7, Start + Window, group, new(2, 9));

        Assert.Null(copy.Earlier);
        Assert.NotEqual(old.Id, copy.Id);
        Assert.Same(copy, _copies.Add(7, Start + Window, "/c", new(3, 3)).Earlier);
    }

    [Fact]
    public void Add_SameIdAtOtherPositionOfGroup_BelongsToNewMessage()
    {
        var old = _copies.Add(7, Start, "/a", new(1, 1));
        var copy = _copies.Add(7, Start, "/a", new(1, 2));

        Assert.Null(copy.Earlier);
        Assert.NotEqual(old.Id, copy.Id);
    }

    /// <summary>Two messages have ID 1. The tracker must forget the old message, not the new message.</summary>
    [Fact]
    public void Add_ExpiredIdOfOldestMessage_KeepsNewMessage()
    {
        const int MaxMessages = 16 * 1024;
        for (var id = 1; id < MaxMessages; id++) _copies.Add(id, Start, "/a", new(1, id));
        var again = _copies.Add(1, Start + Window, "/a", new(1, MaxMessages));
        for (var id = MaxMessages; id < MaxMessages + 2; id++) _copies.Add(id, Start + Window, "/a", new(1, id + 1));

        Assert.Same(again, _copies.Add(1, Start + Window, "/b", new(2, 1)).Earlier);
    }

    [Fact]
    public void Add_TooManyMessages_ForgetsOldestMessage()
    {
        for (var id = 1; id <= 16 * 1024 + 1; id++) _copies.Add(id, Start, "/a", new(1, id));

        Assert.Null(_copies.Add(1, Start, "/b", new(2, 1)).Earlier);
        Assert.NotNull(_copies.Add(3, Start, "/b", new(2, 2)).Earlier);
    }
}
