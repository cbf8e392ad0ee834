using System.Text;
using System.Text.RegularExpressions;
using CsCheck;

namespace Broadcast.Middleware.Tests.Protocols;

/// <summary>Tests the format of event streams. A parser that follows the specification must return every published message.</summary>
public sealed partial class EventStreamFormatTests
{
    const ulong Epoch = 0x00c0ffee00c0ffee;

    // Parts of messages. Many parts have a special meaning in the event stream format.
    static readonly Gen<string> _pieces = Gen.Frequency(
        (6, OneOf("\n", "\r", "\r\n", "\n\n", "\r\r\n", " ", ":", "\0", "\t")),
        (4, OneOf("data: x", "id: 1", "event: close", "retry: 1", ": comment", "data", "\uFEFF", "\u2028", "\u0085")),
        (4, OneOf("hello", "é", "你好", "🛰", "\u0001", "\"", "<")),
        (1, Gen.Int[0, 5_000].Select(length => new string('x', length))));

    static readonly Gen<Message> _messages = Gen.Frequency(
        (4, _pieces.Array[0, 8].Select(pieces => Message.FromText(string.Concat(pieces)))),
        (1, Gen.Byte.Array[0, 100].Select(bytes => new Message(bytes, MessageType.Binary))));

    static Gen<string> OneOf(params string[] texts) => Gen.Int[0, texts.Length - 1].Select(i => texts[i]);

    [GeneratedRegex(@"\r\n|\r|\n")]
    private static partial Regex LineBreak { get; }

    [Fact]
    public void Encode_RandomMessages_CanBeParsedInAnyChunks() =>
        Gen.Select(_messages.Array[1, 20], Gen.Int[1, 7], Gen.Int[1, 200], Gen.Bool).Sample(
            (messages, perRun, perRead, isHome) =>
            {
                var log = new MessageLog(new SequenceClock(), new LogSettings(1 << 20, SlowConsumer.Disconnect)) { Epoch = Epoch };
                var cursor = Read(log, isHome ? EventStreamEncoder.ForHomeGroup : EventStreamEncoder.ForOtherLogs);
                var bytes = new List<byte>();
                for (var i = 0; i < messages.Length; i++)
                {
                    lock (log.Gate) log.Append(messages[i], null);
                    if (i % perRun == 0) TakeAll(cursor, bytes);
                }

                TakeAll(cursor, bytes);
                var parser = new EventParser();
                foreach (var piece in bytes.Chunk(perRead)) parser.Feed(piece);
                for (var i = 0; i < messages.Length; i++)
                {
                    Assert.True(parser.TryTake(out var heard), $"Only {i} of {messages.Length} messages arrived.");
                    Assert.Equal(Expected(messages[i]), (heard!.Type, heard.Data));
                    Assert.Equal(isHome ? $"00c0ffee00c0ffee-{i + 1}" : "", heard.Id);
                    Assert.Equal(isHome, heard.HasOwnId);
                }

                Assert.False(parser.TryTake(out _));
                Assert.True(parser.IsBetweenEvents);
                Assert.Equal(0, parser.Comments);
            },
            iter: 800 * Effort.Factor);

    public static TheoryData<string, string> Texts => new()
    {
        { "", "data: \n\n" },
        { "one", "data: one\n\n" },
        { " one", "data:  one\n\n" },
        { ":one", "data: :one\n\n" },
        { "\n", "data: \ndata: \n\n" },
        { "a\nb\rc\r\nd", "data: a\ndata: b\ndata: c\ndata: d\n\n" },
        { "a\n\r\nb\r", "data: a\ndata: \ndata: b\ndata: \n\n" },
        { "\0", "data: \0\n\n" },
        { "🛰\u2028x", "data: 🛰\u2028x\n\n" },
    };

    [Theory]
    [MemberData(nameof(Texts))]
    public void Encode_Text_WritesOneDataLinePerLine(string text, string expected) =>
        Assert.Equal(expected, Encoded(Message.FromText(text), EventStreamEncoder.ForOtherLogs));

    [Fact]
    public void Encode_Binary_WritesBase64InBinaryEvent()
    {
        Assert.Equal("event: binary\ndata: \n\n", Encoded(new(default, MessageType.Binary), EventStreamEncoder.ForOtherLogs));
        Assert.Equal("event: binary\ndata: Cg==\n\n", Encoded(new("\n"u8.ToArray(), MessageType.Binary), EventStreamEncoder.ForOtherLogs));
        Assert.Equal(
            "id: 00c0ffee00c0ffee-1\nevent: binary\ndata: AP+AAQ==\n\n",
            Encoded(new(new byte[] { 0, 255, 128, 1 }, MessageType.Binary), EventStreamEncoder.ForHomeGroup));
    }

    [Fact]
    public void Encode_VeryLongMessage_WritesOneEvent()
    {
        var text = string.Concat(Enumerable.Repeat("0123456789abcde\n", 60_000));
        var parser = new EventParser();
        parser.Feed(Encoding.UTF8.GetBytes(Encoded(Message.FromText(text), EventStreamEncoder.ForHomeGroup)));
        Assert.True(parser.TryTake(out var heard));
        Assert.True(text == heard!.Data);
        var bytes = Enumerable.Range(0, 900_000).Select(i => (byte)(i * 31 >> 3)).ToArray();
        parser.Feed(Encoding.UTF8.GetBytes(Encoded(new(bytes, MessageType.Binary), EventStreamEncoder.ForHomeGroup)));
        Assert.True(parser.TryTake(out heard));
        Assert.True(Convert.FromBase64String(heard!.Data).AsSpan().SequenceEqual(bytes));
    }

    [Fact]
    public void Encode_StartMissedAndClose_WritesIdAndEventLines()
    {
        var position = new Position(Epoch, 42);
        Assert.Equal("id: 00c0ffee00c0ffee-42\n\n", Text(EventStreamEncoder.ForHomeGroup.EncodeStart(position, null, 42)));
        Assert.Equal("id: 00c0ffee00c0ffee-42\n\n", Text(EventStreamEncoder.ForHomeGroup.EncodeStart(position, true, 42)));
        Assert.Equal("id: 00c0ffee00c0ffee-42\nevent: missed\ndata: unknown\n\n", Text(EventStreamEncoder.ForHomeGroup.EncodeStart(position, false, 42)));
        Assert.Equal("", Text(EventStreamEncoder.ForOtherLogs.EncodeStart(position, null, 42)));
        Assert.Equal("event: missed\ndata: 1234567\n\n", Text(EventStreamEncoder.EncodeMissed(1_234_567)));
        Assert.Equal("event: close\ndata: 1001 bye\n\n", Text(EventStreamEncoder.EncodeClose(1001, "bye")));
        Assert.Equal("event: close\ndata: 4000 \n\n", Text(EventStreamEncoder.EncodeClose(4000, null)));
        Assert.Equal("event: close\ndata: 4000 a b c\n\n", Text(EventStreamEncoder.EncodeClose(4000, "a\r\nb\nc")));
    }

    [Fact]
    public async Task Encode_ConcurrentPumps_GetTheSameBytes()
    {
        const int Messages = 2_000;
        var token = TestContext.Current.CancellationToken;
        for (var round = 0; round < 5; round++)
        {
            var block = new Block(60_000, 1, 0);
            var log = new MessageLog(new SequenceClock(), new LogSettings(1 << 20, SlowConsumer.Disconnect)) { Epoch = Epoch };
            var all = new byte[4][];
            using var start = new Barrier(all.Length + 1);
            var readers = Enumerable.Range(0, all.Length).Select(reader => Task.Run(() =>
            {
                var (random, bytes, format) = (new Random(reader), new List<byte>(), reader % 2 == 0 ? EventStreamEncoder.ForHomeGroup : EventStreamEncoder.ForOtherLogs);
                start.SignalAndWait(token);
                for (var at = 0; at < Messages;)
                {
                    var to = Math.Min(block.Count, at + random.Next(1, 50));
                    bytes.AddRange(block.Run(at, to, format, log).Frames.Span);
                    at = to;
                }

                all[reader] = [.. bytes];
            }, token)).ToArray();
            start.SignalAndWait(token);
            for (var i = 0; i < Messages; i++) block.Append(new(Encoding.UTF8.GetBytes($"message {i}"), MessageType.Text), i, 0, null);
            await Task.WhenAll(readers);
            var expected = string.Concat(Enumerable.Range(0, Messages).Select(i => $"data: message {i}\n\n"));
            Assert.Equal(expected, Encoding.UTF8.GetString(all[1]));
            Assert.Equal(all[1], all[3]);
            Assert.Equal(all[0], all[2]);
            Assert.StartsWith("id: 00c0ffee00c0ffee-1\ndata: message 0\n\nid: 00c0ffee00c0ffee-2\n", Encoding.UTF8.GetString(all[0]), StringComparison.Ordinal);
        }
    }

    static (string, string) Expected(Message message) => message.Type == MessageType.Text
        ? ("message", LineBreak.Replace(Encoding.UTF8.GetString(message.Payload.Span), "\n"))
        : ("binary", Convert.ToBase64String(message.Payload.Span));

    static string Encoded(Message message, EventStreamEncoder format)
    {
        var log = new MessageLog(new SequenceClock(), new LogSettings(2 << 20, SlowConsumer.Disconnect)) { Epoch = Epoch };
        var (cursor, bytes) = (Read(log, format), new List<byte>());
        lock (log.Gate) log.Append(message, null);
        TakeAll(cursor, bytes);
        return Encoding.UTF8.GetString([.. bytes]);
    }

    static Cursor Read(MessageLog log, EntryEncoder format)
    {
        lock (log.Gate) return new(log, null!, null, new() { Encoder = format });
    }

    static void TakeAll(Cursor cursor, List<byte> bytes)
    {
        while (cursor.TryPeek(out _)) bytes.AddRange(cursor.Read().Span);
    }

    static string Text(ReadOnlyMemory<byte> bytes) => Encoding.UTF8.GetString(bytes.Span);
}
