using System.Net.WebSockets;
using System.Globalization;

namespace WebDemo.Tests;

/// <summary>The published npm client with its default protocol, on lines that do not hold.</summary>
public sealed class RecoveryTests(Demo demo) : IClassFixture<Demo>
{
    const int Messages = 10_000;

    // A second's worth is a hundredth of what the server keeps for one.
    const int PerTick = 10;

    static readonly TimeSpan Tick = TimeSpan.FromMilliseconds(10);

    /// <summary>
    /// Every kind of tear, several times, in random order and at random bytes of the stream; after some of them, one or two more while the
    /// client comes back: in the middle of its request, of the server's answer, or of the first messages.
    /// </summary>
    [Fact(Timeout = 120_000)]
    public async Task Of_10000_messages_none_is_missing_and_none_comes_twice_however_often_the_line_tears()
    {
        var seed = int.TryParse(Environment.GetEnvironmentVariable("BROADCAST_TEST_SEED"), CultureInfo.InvariantCulture, out var given) ? given : Random.Shared.Next();
        TestContext.Current.TestOutputHelper?.WriteLine($"BROADCAST_TEST_SEED={seed}");
        Tear[] tears = [.. Tears(new Random(seed))];
        var published = new Counter();
        await using var line = new TornLine(demo.Url, tears, () => published.ReachesAsync(Math.Min(Messages, published.Value + 300)));
        await using var ann = await NpmClient.ConnectAsync(line.Url, NpmClient.Reliable);
        await ann.JoinAsync("stream");
        using var publisher = await demo.ConnectAsync("/ws", "json.webpubsub.azure.v1");
        var publishing = PublishAsync(publisher, published);
        var last = 0L;
        for (var number = 0; number < Messages; number++)
        {
            // The next event, whatever it is: so neither disconnected nor connected comes in between.
            var message = await ann.NextGroupMessageAsync();
            Assert.Equal($"number {number}", message.GetProperty("data").GetString());
            Assert.InRange(message.GetProperty("sequenceId").GetInt64(), last + 1, long.MaxValue);
            last = message.GetProperty("sequenceId").GetInt64();
        }

        await publishing.WaitAsync(TestContext.Current.CancellationToken);
        // All of it happened while they came, and it is one connection still.
        Assert.Equal(tears.Length, line.Torn);
        Assert.Equal(tears.Length + 1, line.Connections);
        Assert.Equal(1, await demo.CountAsync("stream"));
        await ann.CallAsync("sendToGroup", "stream", "done", "text");
        await ann.SeesAsync("stream", "done");
        await ann.CallAsync("leaveGroup", "stream");
        Assert.Equal(0, await demo.CountAsync("stream"));
        ann.SeesNothingMore();
    }

    [Fact]
    public async Task A_request_whose_answer_was_lost_with_the_line_takes_effect_once_though_it_is_repeated()
    {
        await using var line = new TornLine(demo.Url, [], static () => Task.CompletedTask);
        await using var ann = await NpmClient.ConnectAsync(line.Url, NpmClient.Reliable);
        await using var ben = await NpmClient.ConnectAsync(demo.Url, NpmClient.Reliable);
        await ben.JoinAsync("repeated");
        // Before and after another that was answered.
        Assert.False((await ann.CallAsync("sendToGroup", "repeated", "before", "text", new { ackId = 76 })).GetProperty("isDuplicated").GetBoolean());
        line.Mute();
        var sending = ann.CallAsync("sendToGroup", "repeated", "pay", "text", new { ackId = 77 });
        await ben.SeesAsync("repeated", "before");
        await ben.SeesAsync("repeated", "pay");
        Assert.False(sending.IsCompleted);
        line.Cut();
        // The client repeats it by itself, with the id that it was given.
        var result = await sending;
        Assert.Equal(77, result.GetProperty("ackId").GetInt32());
        Assert.True(result.GetProperty("isDuplicated").GetBoolean());
        Assert.True((await ann.CallAsync("sendToGroup", "repeated", "before", "text", new { ackId = 76 })).GetProperty("isDuplicated").GetBoolean());
        Assert.Equal(2, line.Connections);
        await ann.CallAsync("sendToGroup", "repeated", "done", "text");
        await ben.SeesAsync("repeated", "done");
        ann.SeesNothingMore();
    }

    static IEnumerable<Tear> Tears(Random random)
    {
        var kinds = Enumerable.Repeat(Enum.GetValues<TearKind>(), 5).SelectMany(static kinds => kinds).ToArray();
        // Each more of these costs the client a second.
        int[] more = [.. Enumerable.Repeat(0, kinds.Length - 8), 1, 1, 1, 1, 1, 1, 2, 2];
        random.Shuffle(kinds);
        random.Shuffle(more);
        foreach (var (kind, count) in kinds.Zip(more))
        {
            yield return new Tear(kind, random.Next(4_000, 50_000));
            for (var i = 0; i < count; i++)
            {
                // A request has some 400 bytes; an answer 130, and the first message after it some 200.
                var isOfRequest = random.Next(3) == 0;
                yield return new Tear(random.GetItems(kinds, 1)[0], random.Next(isOfRequest ? 350 : 400), isOfRequest);
            }
        }
    }

    static async Task PublishAsync(ClientWebSocket publisher, Counter published)
    {
        using var timer = new PeriodicTimer(Tick);
        while (published.Value < Messages && await timer.WaitForNextTickAsync(TestContext.Current.CancellationToken))
        {
            for (var i = 0; i < PerTick; i++)
            {
                await publisher.SendAsync($$"""{"type":"sendToGroup","group":"stream","dataType":"text","data":"number {{published.Value}}"}""");
                published.Increment();
            }
        }
    }

    /// <summary>A number that grows, and those who wait for it to.</summary>
    sealed class Counter
    {
        readonly List<(int Value, TaskCompletionSource Reached)> _waiting = [];
        int _value;

        public int Value => Volatile.Read(ref _value);

        public void Increment()
        {
            lock (_waiting)
            {
                _value++;
                foreach (var (_, reached) in _waiting.Where(waiting => waiting.Value <= _value)) reached.TrySetResult();
                _waiting.RemoveAll(waiting => waiting.Value <= _value);
            }
        }

        public Task ReachesAsync(int value)
        {
            lock (_waiting)
            {
                if (_value >= value) return Task.CompletedTask;
                var reached = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
                _waiting.Add((value, reached));
                return reached.Task;
            }
        }
    }
}
