using System.Buffers.Binary;

namespace Broadcast.Middleware.Tests.Http;

public sealed class RelayTests
{
    [Theory]
    [MemberData(nameof(Lengths))]
    public async Task Message_OfAnyLength_IsRelayedInOneFrame(int opcode, int length, byte[] header)
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var sender = await RawClient.OpenAsync(app);
        await using var other = await RawClient.OpenAsync(app);
        var payload = Enumerable.Range(0, length).Select(i => (byte)(' ' + i % 90)).ToArray();

        await sender.SendAsync(ClientFrame.Make(opcode, payload));

        foreach (var client in new[] { sender, other })
        {
            var frame = await client.ReadFrameAsync();
            Assert.Equal(header, frame.Header);
            BytesAssert.Equal(payload, frame.Payload);
        }
    }

    [Fact]
    public async Task FragmentedMessage_WithPingBetween_IsRelayedAsOneMessage()
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var sender = await RawClient.OpenAsync(app);
        await using var other = await RawClient.OpenAsync(app);
        var text = "grüß"u8.ToArray();

        // The first fragment ends in the middle of the character "ü".
        await sender.SendAsync(ClientFrame.Make(ClientFrame.Text, text.AsSpan(0, 3), fin: false));
        await sender.SendAsync(ClientFrame.Make(ClientFrame.Ping, "there?"u8));
        await sender.SendAsync(ClientFrame.Make(ClientFrame.Continuation, [], fin: false));
        var pong = await sender.ReadFrameAsync();
        await sender.SendAsync(ClientFrame.Make(ClientFrame.Continuation, text.AsSpan(3)));

        Assert.Equal((ClientFrame.Pong, "there?"), (pong.Opcode, pong.Text));
        foreach (var client in new[] { sender, other })
        {
            var frame = await client.ReadFrameAsync();
            Assert.Equal((ClientFrame.Text, "grüß"), (frame.Opcode, frame.Text));
        }
    }

    [Fact]
    public async Task Message_ArrivingByteByByte_IsRelayedWhole()
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var sender = await RawClient.OpenAsync(app);

        foreach (var piece in ClientFrame.CreateText("slow, but here").Chunk(1)) await sender.SendAsync(piece);

        Assert.Equal("slow, but here", (await sender.ReadFrameAsync()).Text);
    }

    [Fact]
    public async Task ManyFrames_InOnePacket_AreRelayedInOrder()
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var sender = await RawClient.OpenAsync(app);
        await using var other = await RawClient.OpenAsync(app);

        await sender.SendAsync(Enumerable.Range(0, 500).SelectMany(i => ClientFrame.Make(ClientFrame.Binary, Numbered.Make(i, i % 200))).ToArray());

        await Numbered.ReadAllAsync(sender, 500);
        await Numbered.ReadAllAsync(other, 500);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(125)]
    public async Task Ping_PayloadOfAnyLength_IsRepeatedInPong(int length)
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var client = await RawClient.OpenAsync(app);
        var payload = Enumerable.Range(0, length).Select(i => (byte)i).ToArray();

        await client.SendAsync(ClientFrame.Make(ClientFrame.Ping, payload));

        var pong = await client.ReadFrameAsync();
        Assert.Equal([0x8A, (byte)length], pong.Header);
        Assert.Equal(payload, pong.Payload);
    }

    [Fact]
    public async Task Pong_WithoutPing_IsIgnored()
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var client = await RawClient.OpenAsync(app);

        await client.SendAsync(ClientFrame.Make(ClientFrame.Pong, "unasked"u8), ClientFrame.CreateText("and on"));

        Assert.Equal("and on", (await client.ReadFrameAsync()).Text);
    }

    [Fact]
    public async Task Pong_WhileMessagesArrive_NeverSplitsMessageFrame()
    {
        const int Messages = 5_000, Pings = 5_000;
        await using var app = await BroadcastApp.StartAsync();
        await using var client = await RawClient.OpenAsync(app);
        int messages = 0, pongs = 0;

        // The client pings while messages of all sizes arrive. A pong inside another frame would make all later frames invalid.
        await Task.WhenAll(PublishAsync(), PingAsync(), ReadAsync());

        Assert.Equal((Messages, Pings), (messages, pongs));

        async Task PublishAsync()
        {
            for (var i = 0; i < Messages; i++)
            {
                var next = i;
                await Eventually.True(() => next - Volatile.Read(ref messages) < 100);
                await app.Broadcaster.PublishAsync(Numbered.Make(i, i * 37 % 3000), cancellationToken: TestContext.Current.CancellationToken);
            }
        }

        async Task PingAsync()
        {
            var ping = new byte[4];
            for (var i = 0; i < Pings; i++)
            {
                BinaryPrimitives.WriteInt32BigEndian(ping, i);
                await client.SendAsync(ClientFrame.Make(ClientFrame.Ping, ping));
            }
        }

        async Task ReadAsync()
        {
            while (messages < Messages || pongs < Pings)
            {
                var frame = await client.ReadFrameAsync();
                if (frame.Opcode == ClientFrame.Pong)
                {
                    Assert.Equal(pongs++, BinaryPrimitives.ReadInt32BigEndian(frame.Payload));
                    continue;
                }

                Assert.Equal(ClientFrame.Binary, frame.Opcode);
                Assert.Equal(messages, Numbered.Read(frame.Payload));
                Volatile.Write(ref messages, messages + 1);
            }
        }
    }

    /// <summary>
    /// Text and binary messages with the lengths at which the frame header changes (RFC 6455, section 5.2), up to the default limit.
    /// </summary>
    public static TheoryData<int, int, byte[]> Lengths
    {
        get
        {
            var data = new TheoryData<int, int, byte[]>();
            foreach (var opcode in new byte[] { ClientFrame.Text, ClientFrame.Binary })
            {
                var first = (byte)(0x80 | opcode);
                data.Add(opcode, 0, [first, 0]);
                data.Add(opcode, 1, [first, 1]);
                data.Add(opcode, 125, [first, 125]);
                data.Add(opcode, 126, [first, 126, 0, 126]);
                data.Add(opcode, 65_535, [first, 126, 0xFF, 0xFF]);
                data.Add(opcode, 65_536, [first, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
            }

            return data;
        }
    }
}
