using System.Net.WebSockets;
using System.Security.Claims;
using System.Text;

namespace Broadcast.Middleware.Tests.Clustering;

/// <summary>Tests that messages between nodes can be encoded and decoded, and that damaged bytes cause only the documented error.</summary>
public sealed class NodeCodecTests
{
    static int Rounds => 2_000 * Effort.Factor;

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void ClusterMessage_EncodeAndDecode_RoundTrips(int seed)
    {
        var random = new Random(seed);
        for (var i = 0; i < Rounds; i++)
        {
            var message = AnyMessage(random);
            AssertSame(message, ClusterMessage.Decode(message.Encode()));
        }
    }

    [Fact]
    public void AuthenticationCodec_UserWithBootstrapContext_OmitsTokenAndKeepsUserUnchanged()
    {
        var actor = new ClaimsIdentity([new("sub", "service")], "Test") { BootstrapContext = "secret token of the actor" };
        var identity = new ClaimsIdentity([new("sub", "ann")], "Test") { BootstrapContext = "secret token", Actor = actor };
        var extension = new AuthenticationExtension("c", "ann", null, new ClaimsPrincipal(identity), null);

        var bytes = AuthenticationCodec.Encode(extension);

        Assert.DoesNotContain("secret", Encoding.UTF8.GetString(bytes), StringComparison.Ordinal);
        Assert.Equal("service", ((ClaimsIdentity)AuthenticationCodec.Decode("c", null, bytes).User.Identity!).Actor!.FindFirst("sub")!.Value);
        Assert.Equal("secret token", identity.BootstrapContext);
        Assert.Equal("secret token of the actor", actor.BootstrapContext);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void NodeMessage_EncodeAndDecode_RoundTrips(int seed)
    {
        var random = new Random(seed);
        for (var i = 0; i < Rounds; i++)
        {
            var request = AnyRequest(random);
            var read = NodeCodec.Decode(NodeCodec.Encode(request));
            Assert.Equal(WithoutBody(request), WithoutBody(read));
            Assert.Equal(BodyOf(request).ToArray(), BodyOf(read).ToArray());
        }
    }

    [Fact]
    public void ReservedConnections_EncodeAndDecode_GroupsConnectionsByNode()
    {
        var read = ReservedConnections.Decode(ReservedConnections.Encode([("n1", "a"), ("n2", "b"), ("n1", "c"), ("n1", "a"), ("", "")]));
        Assert.Equal(["", "n1", "n2"], read.Nodes.Keys.Order(StringComparer.Ordinal));
        Assert.Equal(["a", "c"], read.On("n1"));
        Assert.Equal(["b"], read.On("n2"));
        Assert.Equal([""], read.On(""));
        Assert.Empty(read.On("n3"));
        Assert.Empty(ReservedConnections.Decode(ReservedConnections.Encode([])).Nodes);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void Decode_DamagedBytes_ReturnsMessageOrThrowsInvalidDataException(int seed)
    {
        var random = new Random(seed);
        var (read, refused) = (0, 0);
        for (var i = 0; i < Rounds; i++)
        {
            Try(Damage(random, AnyMessage(random).Encode().ToArray()));
            Try(Damage(random, NodeCodec.Encode(AnyRequest(random)).ToArray()));
            Try(Damage(random, ReservedConnections.Encode(AnyTexts(random).Zip(AnyTexts(random))).ToArray()));
        }

        Assert.True(read > 100 && refused > 100, $"The decoder read {read} messages and rejected {refused} messages.");

        void Try(byte[] bytes)
        {
            foreach (Action decode in (Action[])[() => Use(ClusterMessage.Decode(bytes)), () => NodeCodec.Decode(bytes), () => ReservedConnections.Decode(bytes)])
            {
                var before = GC.GetAllocatedBytesForCurrentThread();
                try
                {
                    decode();
                    read++;
                }
                catch (InvalidDataException)
                {
                    refused++;
                }

                // The decoder must allocate memory for the actual bytes, not for the length that the damaged bytes state.
                Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, (20 * bytes.Length) + 20_000);
            }
        }

        // The timestamp of a decoded message must be valid.
        static void Use(ClusterMessage message) => message.PublishedAt.ToUnixTimeMilliseconds();
    }

    [Fact]
    public void ClusterMessage_TruncatedHeader_IsRejected()
    {
        var message = new ClusterMessage(new(default, MessageType.Text) { Key = "key", Sender = new("id", "user") }, ["a", "b"], DateTimeOffset.UnixEpoch, 6) { TraceParent = "trace" }.Encode();
        for (var length = 0; length < message.Length; length++) Assert.Throws<InvalidDataException>(() => ClusterMessage.Decode(message[..length]));
        AssertSame(ClusterMessage.Decode(message), ClusterMessage.Decode(message));
    }

    [Fact]
    public void Decode_OtherVersion_IsRejectedWithFix()
    {
        var message = new ClusterMessage(new(default, MessageType.Text), [], DateTimeOffset.UnixEpoch, 0).Encode().ToArray();
        var request = NodeCodec.Encode(new LeaveGroup(1, "node", "id", "group")).ToArray();
        message[0] = request[0] = 9;
        foreach (var error in (Exception[])[Assert.Throws<InvalidDataException>(() => ClusterMessage.Decode(message)), Assert.Throws<InvalidDataException>(() => NodeCodec.Decode(request))])
            Assert.Contains("sends messages of version 9, but this node reads version 1. Run the same package version", error.Message, StringComparison.Ordinal);
    }

    static byte[] Damage(Random random, byte[] bytes)
    {
        switch (random.Next(5))
        {
            case 0:
                return bytes[..random.Next(bytes.Length)];
            case 1:
                random.NextBytes(bytes);
                return bytes;
            case 2:
                return [.. bytes[..random.Next(bytes.Length)], .. bytes[random.Next(bytes.Length)..]];
            case 3:
                // Write an extreme length into the message.
                BitConverter.TryWriteBytes(bytes.AsSpan(random.Next(Math.Max(1, bytes.Length - 4))), (int[])[-2, -1, int.MinValue, int.MaxValue, bytes.Length] is var odd ? odd[random.Next(odd.Length)] : 0);
                return bytes;
            default:
                for (var i = random.Next(1, 5); i > 0; i--) bytes[random.Next(bytes.Length)] = (byte)random.Next(256);
                return bytes;
        }
    }

    static void AssertSame(ClusterMessage expected, ClusterMessage actual)
    {
        Assert.Equal((expected.PublishedAt, expected.CopyId, expected.TraceParent), (actual.PublishedAt, actual.CopyId, actual.TraceParent));
        Assert.Equal(expected.Excluded, actual.Excluded);
        var (message, read) = (expected.Message, actual.Message);
        Assert.Equal((message.Type, message.IsJson, message.DisableCompression, message.Key, message.Sender?.ConnectionId, message.Sender?.UserId), (read.Type, read.IsJson, read.DisableCompression, read.Key, read.Sender?.ConnectionId, read.Sender?.UserId));
        Assert.Equal(message.Tags, read.Tags);
        Assert.Equal(message.Payload.ToArray(), read.Payload.ToArray());
    }

    static ClusterMessage AnyMessage(Random random) => new(
        new Message(AnyBytes(random), random.Next(2) == 0 ? MessageType.Text : MessageType.Binary)
        {
            IsJson = random.Next(2) == 0,
            DisableCompression = random.Next(2) == 0,
            Key = AnyText(random),
            Tags = random.Next(2) == 0 ? null : MessageTags.Create([.. Enumerable.Range(0, random.Next(1, 5)).Select(i => ($"key{i}", $"ä {random.Next()}"))]),
            Sender = random.Next(2) == 0 ? null : new(AnyText(random) ?? "", AnyText(random)),
        },
        [.. Enumerable.Range(0, random.Next(4)).Select(_ => AnyText(random) ?? "")],
        DateTimeOffset.FromUnixTimeMilliseconds(random.NextInt64(DateTimeOffset.MinValue.ToUnixTimeMilliseconds(), DateTimeOffset.MaxValue.ToUnixTimeMilliseconds() + 1)),
        random.Next(2) == 0 ? 0 : random.NextInt64())
    {
        TraceParent = AnyText(random),
    };

    static NodeMessage AnyRequest(Random random)
    {
        var (id, from, target) = (random.NextInt64(), AnyText(random) ?? "", AnyText(random) ?? "");
        var (group, body) = (AnyText(random) ?? "", AnyBytes(random));
        var replay = random.Next(4) switch
        {
            0 => default,
            1 => Replay.None,
            2 => Replay.Last(random.Next()),
            _ => Replay.After(AnyPosition(random)),
        };
        return random.Next(10) switch
        {
            0 => new SendToConnection(from, target, body),
            1 => new SendToUser(from, target, body),
            2 => new CloseConnection(id, from, target, (WebSocketCloseStatus)random.Next(1000, 5000), AnyText(random)),
            3 => new JoinGroup(id, from, target, group, replay, random.Next(2) == 0 ? null : SubscriptionFilter.TagIn("a", "b c", $"{random.Next(10)}")),
            4 => new LeaveGroup(id, from, target, group),
            5 => new SetGroupState(id, from, target, group, body),
            6 => new ExtendAuthentication(id, from, target, AnyExtension(random, target)),
            7 => new EndAuthentication(id, from, target),
            8 => new SendToUserConnections(from, target, AnyTexts(random), body),
            _ => new NodeAnswer(
                id, from, target, random.Next(2) == 0, (bool?[])[null, true, false] is var any ? any[random.Next(3)] : null,
                random.Next(2) == 0 ? null : AnyPosition(random), AnyText(random), random.Next(2) == 0),
        };
    }

    static AuthenticationExtension AnyExtension(Random random, string target)
    {
        var claims = Enumerable.Range(0, random.Next(4)).Select(_ => new Claim(AnyText(random) ?? "", AnyText(random) ?? ""));
        DateTimeOffset? expires = random.Next(2) == 0 ? null : new(random.NextInt64(DateTimeOffset.MaxValue.UtcTicks), TimeSpan.Zero);
        return new(target, AnyText(random) ?? "", AnyText(random), new ClaimsPrincipal(new ClaimsIdentity(claims, "Test")), expires);
    }

    static string TextOf(ClaimsPrincipal user) =>
        $"{user.Identity!.AuthenticationType}: {string.Join(", ", user.Claims.Select(static claim => $"{claim.Type} = {claim.Value}"))}";

    static ReadOnlyMemory<byte> BodyOf(NodeMessage message) => message switch
    {
        SendToConnection send => send.Message,
        SendToUser send => send.Message,
        SendToUserConnections send => Encoding.UTF8.GetBytes($"{string.Join('\n', send.Connections)}\n{Convert.ToHexString(send.Message.Span)}"),
        SetGroupState set => set.State,
        ExtendAuthentication extend => Encoding.UTF8.GetBytes(TextOf(extend.Extension.User)),
        _ => default,
    };

    static NodeMessage WithoutBody(NodeMessage message) => message switch
    {
        SendToConnection send => send with { Message = default },
        SendToUser send => send with { Message = default },
        SendToUserConnections send => send with { Connections = [], Message = default },
        SetGroupState set => set with { State = default },
        ExtendAuthentication extend => extend with { Extension = extend.Extension with { User = null! } },
        _ => message,
    };

    static string[] AnyTexts(Random random) => [.. Enumerable.Range(0, random.Next(4)).Select(_ => AnyText(random) ?? "")];

    static Position AnyPosition(Random random) => new((ulong)random.NextInt64(long.MinValue, long.MaxValue), random.NextInt64());

    static byte[] AnyBytes(Random random)
    {
        var bytes = new byte[random.Next(3) == 0 ? 0 : random.Next(300)];
        random.NextBytes(bytes);
        return bytes;
    }

    static string? AnyText(Random random) => random.Next(6) switch
    {
        0 => null,
        1 => "",
        2 => "\u0000\u0001 äöü 👍 \uFFFD",
        _ => new string((char)random.Next(0x20, 0xD800), random.Next(1, 40)),
    };
}
