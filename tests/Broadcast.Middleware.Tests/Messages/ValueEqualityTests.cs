using System.Reflection;

namespace Broadcast.Middleware.Tests.Messages;

/// <summary>Tests all public types with value equality.</summary>
public sealed class ValueEqualityTests
{
    /// <summary>Creates different values of each type. Each call creates new objects.</summary>
    static readonly Dictionary<Type, Func<object[]>> Values = new()
    {
        [typeof(BackplaneMember)] = static () =>
        [
            new BackplaneMember("a", new byte[] { 1, 2 }), new BackplaneMember("b", new byte[] { 1, 2 }), new BackplaneMember("a", new byte[] { 1, 3 }),
            new BackplaneMember("a", new byte[] { 1 }), default(BackplaneMember),
        ],
        [typeof(BackplaneSubscription)] = static () =>
        [
            Subscription(2, [[1], [2]], 1, 2), Subscription(3, [[1], [2]], 1, 2), Subscription(2, [[1], [3]], 1, 2), Subscription(2, [[1]], 1, 2),
            Subscription(2, [[1], [2]], 1, 3), Subscription(2, [[1], [2]], 1), Subscription(2, []),
        ],
        [typeof(JoinResult)] = static () =>
        [
            new JoinResult(true, true, new Position(1, 2)), new JoinResult(false, true, new Position(1, 2)), new JoinResult(true, false, new Position(1, 2)),
            new JoinResult(true, null, new Position(1, 2)), new JoinResult(true, true, new Position(1, 3)), new JoinResult(true, true, null), default(JoinResult),
        ],
        [typeof(Message)] = static () =>
        [
            Message.FromText(New("a")) with { Key = New("k"), Id = New("i"), Tags = MessageTags.Create(("t", "x")) },
            Message.FromText("a"), Message.FromText("b"), new Message("a"u8.ToArray(), MessageType.Binary),
            Message.FromText("a") with { Key = "k" }, Message.FromText("a") with { RemoveKey = true }, Message.FromText("a") with { IsJson = true },
            Message.FromText("a") with { DisableCompression = true }, Message.FromText("a") with { IsTransient = true },
            Message.FromText("a") with { Id = "i" }, Message.FromText("a") with { Tags = MessageTags.Create(("t", "x")) }, default(Message),
        ],
        [typeof(MessageTags)] = static () =>
        [
            MessageTags.Create((New("a"), New("x")), ("b", "y")), MessageTags.Create(("a", "x"), ("b", "z")), MessageTags.Create(("b", "y"), ("a", "x")),
            MessageTags.Create(("a", "x")), MessageTags.Create(("b", "x")),
        ],
        [typeof(MessageSender)] = static () =>
        [
            new MessageSender(New("c"), New("u")), new MessageSender("d", "u"), new MessageSender("c", "v"), new MessageSender("c", null),
        ],
        [typeof(Position)] = static () => [new Position(1, 2), new Position(2, 1), new Position(1, 1), new Position(2, 2), default(Position)],
        [typeof(PresenceChange)] = static () =>
        [
            new PresenceChange(PresenceChangeKind.Joined, Member(1)), new PresenceChange(PresenceChangeKind.Left, Member(1)),
            new PresenceChange(PresenceChangeKind.Joined, Member(2)),
        ],
        [typeof(PresenceMember)] = static () =>
        [
            Member(1), Member(2), new PresenceMember("d", "u", new byte[] { 1 }), new PresenceMember("c", "v", new byte[] { 1 }),
            new PresenceMember("c", null, new byte[] { 1 }), new PresenceMember("c", "u", default),
        ],
        [typeof(PublishResult)] = static () =>
        [
            new PublishResult(new Position(1, 2), 3), new PublishResult(new Position(1, 2), 4), new PublishResult(new Position(1, 3), 3),
            new PublishResult(null, 3), new PublishResult(null, 3) { IsDuplicate = true }, default(PublishResult),
        ],
        [typeof(ReceivedMessage)] = static () =>
        [
            new ReceivedMessage(Message.FromText("a"), new Position(1, 2)), new ReceivedMessage(Message.FromText("b"), new Position(1, 2)),
            new ReceivedMessage(Message.FromText("a"), new Position(1, 3)), new ReceivedMessage(Message.FromText("a"), null),
            ReceivedMessage.CreateGap(1), ReceivedMessage.CreateGap(2), ReceivedMessage.CreateGap(null), ReceivedMessage.CreateGap(1, new Position(1, 2)),
            default(ReceivedMessage),
        ],
        [typeof(Recipients)] = static () =>
        [
            Recipients.Groups(New("a"), "b").Except("c", "d"), Recipients.Groups("a", "b").Except("c"), Recipients.Groups("a", "c").Except("c", "d"),
            Recipients.Group("a"), Recipients.User("a"), Recipients.Connection("a"), Recipients.Everyone,
        ],
        [typeof(Replay)] = static () => [Replay.Last(2), Replay.Last(3), Replay.None, Replay.After(new Position(1, 2)), Replay.After(new Position(1, 3)), default(Replay)],
        [typeof(RetainedKey)] = static () => [new RetainedKey(New("a"), false), new RetainedKey("a", true), new RetainedKey("b", false), default(RetainedKey)],
        [typeof(RetainedMessage)] = static () =>
        [
            new RetainedMessage(1, new byte[] { 1, 2 }), new RetainedMessage(2, new byte[] { 1, 2 }), new RetainedMessage(1, new byte[] { 1, 3 }),
            new RetainedMessage(1, new byte[] { 1 }),
        ],
        [typeof(SubscriptionFilter)] = static () =>
        [
            SubscriptionFilter.TagEquals(New("a"), New("x")), SubscriptionFilter.TagEquals("a", "y"), SubscriptionFilter.TagIn("a", "x", "y"),
            SubscriptionFilter.TagExists("a"), SubscriptionFilter.Not(SubscriptionFilter.TagExists("a")),
        ],
    };

    public static TheoryData<Type> Types => [.. Values.Keys];

    [Fact]
    public void PublicTypes_WithValueEquality_AreAllTested()
    {
        var types = typeof(IBroadcaster).Assembly.GetExportedTypes()
            .Where(static type => !type.IsEnum && type.IsAssignableTo(typeof(IEquatable<>).MakeGenericType(type)));
        Assert.Equal(Values.Keys.Select(static type => type.Name).Order(), types.Select(static type => type.Name).Order());
    }

    /// <summary>Without this interface, the comparison of a struct with a payload would ignore the bytes of the payload.</summary>
    [Fact]
    public void PublicStructs_ThatCanBeCompared_HaveValueEquality()
    {
        var structs = typeof(IBroadcaster).Assembly.GetExportedTypes().Where(static type => type is { IsValueType: true, IsEnum: false, IsByRefLike: false });
        Assert.All(structs, static type => Assert.True(type.IsAssignableTo(typeof(IEquatable<>).MakeGenericType(type)), type.Name));
    }

    [Theory]
    [MemberData(nameof(Types))]
    public void Equals_SameAndDifferentValues_ComparesAllProperties(Type type)
    {
        var (left, right) = (Values[type](), Values[type]());
        var equals = type.GetMethod(nameof(Equals), [type])!;
        for (var i = 0; i < left.Length; i++)
        {
            Assert.False(left[i].Equals(null));
            Assert.False(left[i].Equals("another type"));
            Assert.Equal(left[i].GetHashCode(), right[i].GetHashCode());
            Assert.Equal(left[i].ToString(), right[i].ToString());
            for (var j = 0; j < right.Length; j++)
            {
                Assert.Equal(i == j, left[i].Equals(right[j]));
                Assert.Equal(i == j, equals.Invoke(left[i], [right[j]]));
            }
        }
    }

    [Theory]
    [MemberData(nameof(Types))]
    public void Operators_OfStruct_AgreeWithEquals(Type type)
    {
        var (equal, notEqual) = (Operator(type, "op_Equality"), Operator(type, "op_Inequality"));
        // Only structs have operators. The classes have none, like most classes of the framework.
        Assert.Equal((type.IsValueType, type.IsValueType), (equal is not null, notEqual is not null));
        if (equal is null || notEqual is null) return;
        var (left, right) = (Values[type](), Values[type]());
        for (var i = 0; i < left.Length; i++)
        {
            for (var j = 0; j < right.Length; j++)
            {
                Assert.Equal(i == j, equal.Invoke(null, [left[i], right[j]]));
                Assert.Equal(i != j, notEqual.Invoke(null, [left[i], right[j]]));
            }
        }
    }

    static MethodInfo? Operator(Type type, string name) => type.GetMethod(name, [type, type]);

    static BackplaneSubscription Subscription(long offset, byte[][] history, params long[] retained) =>
        new(new Position(1, offset), [.. history.Select(static bytes => new ReadOnlyMemory<byte>(bytes))])
        {
            Retained = [.. retained.Select(static offset => new RetainedMessage(offset, new byte[] { 1 }))],
        };

    static PresenceMember Member(byte state) => new(New("c"), New("u"), new byte[] { state });

    /// <summary>Creates an equal string that is another object.</summary>
    static string New(string text) => new(text.AsSpan());
}
