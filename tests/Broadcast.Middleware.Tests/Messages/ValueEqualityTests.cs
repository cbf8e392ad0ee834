using System.Net.WebSockets;
using System.Reflection;
using System.Security.Claims;

namespace Broadcast.Middleware.Tests.Messages;

/// <summary>Tests all public types with value equality.</summary>
public sealed class ValueEqualityTests
{
    /// <summary>All values share these users, because the framework compares users by reference.</summary>
    static readonly ClaimsPrincipal Ann = TestClientOptions.CreateUser("ann"), Bob = TestClientOptions.CreateUser("bob");

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
        [typeof(ReceivedEvent)] = static () =>
        [
            new ReceivedEvent(New("message"), New("a")), new ReceivedEvent("binary", "a"), new ReceivedEvent("message", "b"),
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
        [typeof(RecordedAuthentication)] = static () =>
        [
            new RecordedAuthentication(New("c"), Ann, DateTimeOffset.UnixEpoch), new RecordedAuthentication("d", Ann, DateTimeOffset.UnixEpoch),
            new RecordedAuthentication("c", Bob, DateTimeOffset.UnixEpoch), new RecordedAuthentication("c", Ann, DateTimeOffset.MaxValue),
            new RecordedAuthentication("c", Ann, null),
        ],
        [typeof(RecordedClose)] = static () =>
        [
            new RecordedClose(New("c"), WebSocketCloseStatus.NormalClosure, New("r")), new RecordedClose("d", WebSocketCloseStatus.NormalClosure, "r"),
            new RecordedClose("c", WebSocketCloseStatus.PolicyViolation, "r"), new RecordedClose("c", WebSocketCloseStatus.NormalClosure, "s"),
            new RecordedClose("c", WebSocketCloseStatus.NormalClosure, null),
        ],
        [typeof(RecordedMembership)] = static () =>
        [
            Membership(), Membership(isJoin: false), Membership(connectionId: "d"), Membership(group: "h"), Membership(messages: 3),
            Membership(tag: "y"), Membership(tag: null),
        ],
        [typeof(RecordedPublish)] = static () =>
        [
            new RecordedPublish(Message.FromText(New("a")), Recipients.Group(New("g")), new PublishResult(null, 1)),
            new RecordedPublish(Message.FromText("b"), Recipients.Group("g"), new PublishResult(null, 1)),
            new RecordedPublish(Message.FromText("a"), Recipients.Group("h"), new PublishResult(null, 1)),
            new RecordedPublish(Message.FromText("a"), Recipients.Group("g"), new PublishResult(null, 2)),
        ],
        [typeof(Replay)] = static () => [Replay.Last(2), Replay.Last(3), Replay.None, Replay.After(new Position(1, 2)), Replay.After(new Position(1, 3)), default(Replay)],
        [typeof(RetainedKey)] = static () => [new RetainedKey(New("a"), false), new RetainedKey("a", true), new RetainedKey("b", false), default(RetainedKey)],
        [typeof(RetainedMessage)] = static () =>
        [
            new RetainedMessage(1, new byte[] { 1, 2 }), new RetainedMessage(2, new byte[] { 1, 2 }), new RetainedMessage(1, new byte[] { 1, 3 }),
            new RetainedMessage(1, new byte[] { 1 }),
        ],
        [typeof(StructuredMessage)] = static () =>
        [
            new StructuredMessage(New("g"), New("u"), New("text"), New("a")), new StructuredMessage("h", "u", "text", "a"),
            new StructuredMessage(null, "u", "text", "a"), new StructuredMessage("g", "v", "text", "a"), new StructuredMessage("g", null, "text", "a"),
            new StructuredMessage("g", "u", "json", "a"), new StructuredMessage("g", "u", "text", "b"),
        ],
        [typeof(SubscriptionFilter)] = static () =>
        [
            SubscriptionFilter.TagEquals(New("a"), New("x")), SubscriptionFilter.TagEquals("a", "y"), SubscriptionFilter.TagIn("a", "x", "y"),
            SubscriptionFilter.TagExists("a"), SubscriptionFilter.Not(SubscriptionFilter.TagExists("a")),
        ],
    };

    public static TheoryData<Type> Types => [.. Values.Keys];

    static IEnumerable<Type> PublicTypes =>
        [.. typeof(IBroadcaster).Assembly.GetExportedTypes(), .. typeof(RecordingBroadcaster).Assembly.GetExportedTypes()];

    [Fact]
    public void PublicTypes_WithValueEquality_AreAllTested() =>
        Assert.Equal(Values.Keys.Select(static type => type.Name).Order(), PublicTypes.Where(HasValueEquality).Select(static type => type.Name).Order());

    /// <summary>Without this interface, classes are compared by reference, and structs without the bytes of their payload.</summary>
    [Fact]
    public void PublicTypes_ThatAreValues_HaveValueEquality() =>
        Assert.All(PublicTypes.Where(IsValue), static type => Assert.True(HasValueEquality(type), type.Name));

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

    static bool HasValueEquality(Type type) => !type.IsEnum && type.IsAssignableTo(typeof(IEquatable<>).MakeGenericType(type));

    /// <summary>A value is a struct, a class with its own text, or a class that has only properties without setters.</summary>
    static bool IsValue(Type type)
    {
        if (type.IsValueType) return type is { IsEnum: false, IsByRefLike: false };
        if (type.IsAbstract || type.BaseType != typeof(object)) return false;
        var methods = type.GetMethods(BindingFlags.Public | BindingFlags.Instance | BindingFlags.DeclaredOnly);
        return methods.Any(static method => method.Name == nameof(ToString))
            || methods.All(static method => method.Name.StartsWith("get_", StringComparison.Ordinal));
    }

    static MethodInfo? Operator(Type type, string name) => type.GetMethod(name, [type, type]);

    static BackplaneSubscription Subscription(long offset, byte[][] history, params long[] retained) =>
        new(new Position(1, offset), [.. history.Select(static bytes => new ReadOnlyMemory<byte>(bytes))])
        {
            Retained = [.. retained.Select(static offset => new RetainedMessage(offset, new byte[] { 1 }))],
        };

    static PresenceMember Member(byte state) => new(New("c"), New("u"), new byte[] { state });

    static RecordedMembership Membership(
        bool isJoin = true, string connectionId = "c", string group = "g", int messages = 2, string? tag = "x") =>
        new(isJoin, New(connectionId), New(group), Replay.Last(messages), tag is null ? null : SubscriptionFilter.TagEquals("t", tag));

    /// <summary>Creates an equal string that is another object.</summary>
    static string New(string text) => new(text.AsSpan());
}
