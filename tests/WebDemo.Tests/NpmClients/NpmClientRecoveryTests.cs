using System.Globalization;
using System.Net.WebSockets;

namespace WebDemo.Tests;

/// <summary>Tests the published npm client with its reliable protocol on transports that break.</summary>
[Trait("Run", "More")]
public sealed class NpmClientRecoveryTests(DemoServer server)
{
    const int Messages = 10_000;

    // The server can keep 100 times the number of messages that the test sends per second.
    const int PerTick = 10;

    static readonly TimeSpan Tick = TimeSpan.FromMilliseconds(10);

    /// <remarks>
    /// The plan contains each kind of fault five times, in random order and at random positions in the stream. After
    /// some faults, the next reconnect has one or two more faults, in the request, in the response, or in the first
    /// messages.
    /// </remarks>
    [Fact(Timeout = 240_000)]
    public async Task Recovery_TransportBreaks35Times_Receives10000MessagesOnceInOrder()
    {
        var seed = int.TryParse(Environment.GetEnvironmentVariable("BROADCAST_TEST_SEED"), CultureInfo.InvariantCulture, out var value) ? value : Random.Shared.Next();
        TestContext.Current.TestOutputHelper?.WriteLine($"BROADCAST_TEST_SEED={seed}");
        Fault[] faults = [.. CreateFaults(new Random(seed))];
        var published = new Counter();
        await using var proxy = new FaultProxy(server.Url, faults, () => published.WaitForAsync(Math.Min(Messages, published.Value + 300)));
        proxy.Start();
        await using var ann = await NpmClient.ConnectAsync(proxy.Url, NpmClient.Reliable);
        await ann.JoinAsync("stream");
        using var publisher = await server.ConnectAsync("/ws", "json.webpubsub.azure.v1");
        var publishing = PublishAsync(publisher, published);
        var last = 0L;
        for (var number = 0; number < Messages; number++)
        {
            // These assertions also fail if the client raises a disconnected or connected event between the messages.
            var message = await ann.NextGroupMessageAsync();
            Assert.Equal($"number {number}", message.GetProperty("data").GetString());
            Assert.InRange(message.GetProperty("sequenceId").GetInt64(), last + 1, long.MaxValue);
            last = message.GetProperty("sequenceId").GetInt64();
        }

        await publishing.WaitAsync(TestContext.Current.CancellationToken);
        // All faults have occurred, and the client still has its first connection.
        Assert.Equal(faults.Length, proxy.FaultCount);
        Assert.Equal(faults.Length + 1, proxy.ConnectionCount);
        Assert.Equal(1, await server.CountAsync("stream"));
        await ann.CallAsync("sendToGroup", "stream", "done", "text");
        await ann.AssertNextGroupMessageAsync("stream", "done");
        await ann.CallAsync("leaveGroup", "stream");
        Assert.Equal(0, await server.CountAsync("stream"));
        ann.AssertNoMoreEvents();
    }

    [Fact]
    public async Task Recovery_AcknowledgementLost_RepeatedRequestTakesEffectOnce()
    {
        await using var proxy = new FaultProxy(server.Url, [], static () => Task.CompletedTask);
        proxy.Start();
        await using var ann = await NpmClient.ConnectAsync(proxy.Url, NpmClient.Reliable);
        await using var ben = await NpmClient.ConnectAsync(server.Url, NpmClient.Reliable);
        await ben.JoinAsync("repeated");
        // The server acknowledges another request before the transport breaks.
        Assert.False((await ann.CallAsync("sendToGroup", "repeated", "before", "text", new { ackId = 76 })).GetProperty("isDuplicated").GetBoolean());
        proxy.DropResponses();
        var sending = ann.CallAsync("sendToGroup", "repeated", "pay", "text", new { ackId = 77 });
        await ben.AssertNextGroupMessageAsync("repeated", "before");
        await ben.AssertNextGroupMessageAsync("repeated", "pay");
        Assert.False(sending.IsCompleted);
        proxy.ResetConnections();
        // The client repeats the request by itself with the same ack ID.
        var result = await sending;
        Assert.Equal(77, result.GetProperty("ackId").GetInt32());
        Assert.True(result.GetProperty("isDuplicated").GetBoolean());
        Assert.True((await ann.CallAsync("sendToGroup", "repeated", "before", "text", new { ackId = 76 })).GetProperty("isDuplicated").GetBoolean());
        Assert.Equal(2, proxy.ConnectionCount);
        await ann.CallAsync("sendToGroup", "repeated", "done", "text");
        await ben.AssertNextGroupMessageAsync("repeated", "done");
        ann.AssertNoMoreEvents();
    }

    static IEnumerable<Fault> CreateFaults(Random random)
    {
        var kinds = Enumerable.Repeat(Enum.GetValues<FaultKind>(), 5).SelectMany(static kinds => kinds).ToArray();
        // Each additional fault costs the client one second.
        int[] additional = [.. Enumerable.Repeat(0, kinds.Length - 8), 1, 1, 1, 1, 1, 1, 2, 2];
        random.Shuffle(kinds);
        random.Shuffle(additional);
        foreach (var (kind, count) in kinds.Zip(additional))
        {
            yield return new Fault(kind, random.Next(4_000, 50_000));
            for (var i = 0; i < count; i++)
            {
                // A request has about 400 bytes, a response has 130 bytes, and the first message after the response has about 200 bytes.
                var isInRequest = random.Next(3) == 0;
                yield return new Fault(random.GetItems(kinds, 1)[0], random.Next(isInRequest ? 350 : 400), isInRequest);
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
                await publisher.SendTextAsync($$"""{"type":"sendToGroup","group":"stream","dataType":"text","data":"number {{published.Value}}"}""");
                published.Increment();
            }
        }
    }
}
