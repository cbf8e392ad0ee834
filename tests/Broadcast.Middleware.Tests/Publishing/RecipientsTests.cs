namespace Broadcast.Middleware.Tests.Publishing;

public sealed class RecipientsTests
{
    [Fact]
    public void Recipients_Default_IsEveryone()
    {
        Assert.Equal(Recipients.Everyone, default);
        Assert.Equal(RecipientsKind.Everyone, default(Recipients).Kind);
        Assert.Null(Recipients.Everyone.Name);
        Assert.Empty(Recipients.Everyone.Excluded);
    }

    [Fact]
    public void Recipients_EachKind_HasKindAndName()
    {
        Assert.Equal((RecipientsKind.Group, "g"), Of(Recipients.Group("g")));
        Assert.Equal((RecipientsKind.User, "u"), Of(Recipients.User("u")));
        Assert.Equal((RecipientsKind.Connection, "c"), Of(Recipients.Connection("c")));

        static (RecipientsKind, string?) Of(Recipients recipients) => (recipients.Kind, recipients.Name);
    }

    [Fact]
    public void Equals_SameOrDifferentRecipients_ComparesKindNameAndExclusions()
    {
        Recipients[] different =
        [
            Recipients.Everyone, Recipients.Group("x"), Recipients.Group("X"), Recipients.User("x"), Recipients.Connection("x"),
            Recipients.Everyone.Except("a"), Recipients.Everyone.Except("b"), Recipients.Everyone.Except("a", "b"), Recipients.Group("x").Except("a"),
        ];
        for (var i = 0; i < different.Length; i++)
        {
            for (var j = 0; j < different.Length; j++) Assert.Equal(i == j, different[i] == different[j]);
        }

        Same(Recipients.Group("x"), Recipients.Group("x"));
        Same(Recipients.Everyone.Except("a", "b"), Recipients.Everyone.Except("b").Except("a"));
        Same(Recipients.Everyone.Except("a"), Recipients.Everyone.Except("a", "a"));
        Same(Recipients.Everyone.Except("a"), Recipients.Everyone.Except("a").Except("a"));
        Same(Recipients.Everyone, Recipients.Everyone.Except([]));
        Assert.True(Recipients.Everyone != Recipients.Group("x"));
        Assert.False(Recipients.Everyone.Equals(null));

        static void Same(Recipients one, Recipients other)
        {
            Assert.True(one == other && one.Equals((object)other));
            Assert.Equal(one.GetHashCode(), other.GetHashCode());
        }
    }

    [Fact]
    public void Except_CalledAgain_AddsWithoutChangingOriginal()
    {
        var original = Recipients.Group("g").Except("a");
        var more = original.Except("b", "c");
        Assert.Equal(["a"], original.Excluded);
        Assert.Equal(["a", "b", "c"], more.Excluded.Order(StringComparer.Ordinal));
        Assert.Equal("g", more.Name);
    }

    [Fact]
    public void Recipients_NullOrEmptyNames_Throw()
    {
        Assert.Throws<ArgumentNullException>(() => Recipients.User(null!));
        Assert.Throws<ArgumentException>(() => Recipients.User(""));
        Assert.Throws<ArgumentNullException>(() => Recipients.Connection(null!));
        Assert.Throws<ArgumentException>(() => Recipients.Connection(""));
        Assert.Throws<ArgumentNullException>(() => Recipients.Everyone.Except((IReadOnlyCollection<string>)null!));
    }

    [Fact]
    public void ToString_EveryoneGroupOrUser_NamesKindAndName()
    {
        Assert.Equal("everyone", $"{Recipients.Everyone}");
        Assert.Equal("group '/ws'", $"{Recipients.Group("/ws")}");
        Assert.Equal("user 'ann'", $"{Recipients.User("ann")}");
    }

    [Fact]
    public void Equals_Groups_IgnoresOrderAndRepeatedNames()
    {
        Same(Recipients.Groups("a", "b"), Recipients.Groups("b", "a"));
        Same(Recipients.Groups("a", "b"), Recipients.Groups("b", "a", "b"));
        Same(Recipients.Groups("a", "b").Except("x"), Recipients.Groups(new List<string> { "a", "b" }).Except("x", "x"));
        Same(Recipients.Groups(), Recipients.Groups([]));
        Recipients[] different =
        [
            Recipients.Groups(), Recipients.Groups("a"), Recipients.Group("a"), Recipients.Groups("A"), Recipients.Groups("a", "b"), Recipients.Groups("ab"),
            Recipients.Groups("a", "b").Except("x"), Recipients.Everyone, Recipients.User("a"),
        ];
        for (var i = 0; i < different.Length; i++)
        {
            for (var j = 0; j < different.Length; j++) Assert.Equal(i == j, different[i] == different[j]);
        }

        static void Same(Recipients one, Recipients other)
        {
            Assert.True(one == other && one.Equals((object)other));
            Assert.Equal(one.GetHashCode(), other.GetHashCode());
        }
    }

    [Fact]
    public void Groups_NamesChangedAfterCall_KeepsOriginalNames()
    {
        string[] names = ["a", "b"];
        var recipients = Recipients.Groups(names);
        names[0] = "c";
        Assert.Equal((RecipientsKind.Groups, null), (recipients.Kind, recipients.Name));
        Assert.Equal(["a", "b"], recipients.Names);
        Assert.Equal(["a", "b"], recipients.Except("x").Names);
        Assert.Equal(["a"], Recipients.Group("a").Names);
        Assert.Empty(Recipients.Everyone.Names);
        Assert.Equal("groups 'a', 'b'", $"{recipients}");
        Assert.Equal("groups 'a'", $"{Recipients.Groups("a")}");
    }

    [Fact]
    public void Groups_InvalidNames_Throw()
    {
        Assert.Throws<ArgumentNullException>("names", () => Recipients.Groups(null!));
        Assert.Throws<ArgumentException>("names", () => Recipients.Groups("a", ""));
        Assert.Throws<ArgumentException>("names", () => Recipients.Groups("a", null!));
        Assert.Throws<ArgumentException>("names", () => Recipients.Groups("a", "b\n"));
        Assert.Throws<ArgumentException>("names", () => Recipients.Groups(new string('a', 256), "b"));
        // This collection returns a different name on the second read, so that a missing copy is detected.
        Assert.Equal(["a"], Recipients.Groups(new Fickle()).Names);
    }

    sealed class Fickle : IReadOnlyCollection<string>
    {
        bool _hasBeenRead;

        public int Count => 1;

        public IEnumerator<string> GetEnumerator()
        {
            yield return _hasBeenRead ? "" : "a";
            _hasBeenRead = true;
        }

        System.Collections.IEnumerator System.Collections.IEnumerable.GetEnumerator() => GetEnumerator();
    }
}
