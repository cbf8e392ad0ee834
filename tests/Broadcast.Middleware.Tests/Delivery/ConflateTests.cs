using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;

namespace Broadcast.Middleware.Tests.Delivery;

public sealed class ConflateTests
{
    const int Keys = 50;

    [Fact]
    public async Task Conflate_LaggingClient_MissesOnlyReplacedMessages()
    {
        const int Messages = 5_000;
        var time = new FakeTimeProvider();
        await using var app = await StartAsync(8 * 1024 * 1024, time);
        using var meters = new Meters(app);
        await using var slow = await Stall.OpenAsync(app);
        var id = Assert.Single(app.Registry.Connections).Id;
        await using var fast = await RawClient.OpenAsync(app);
        var filled = await Stall.FillAsync(app, meters, id);

        var reading = ReadUntilAsync(fast, Messages);
        for (var i = 0; i <= Messages; i++) await PublishAsync(app, i);
        Assert.Equal(Enumerable.Range(0, Messages + 1), await reading);
        Assert.Equal(0, meters.Sum(Meters.Dropped));
        // Let the write wait so long that the server treats the client as slow.
        time.Advance(TimeSpan.FromMilliseconds(100));
        var got = await ReadUntilAsync(slow, Messages);

        AssertConflated(got, Messages);
        await Eventually.True(() => meters.Delivered == filled + Messages + 1 + got.Count);
        Assert.Equal(Messages + 1 - got.Count, meters.Sum(Meters.Dropped));
        Assert.True(got.Count < Messages / 2, $"Too few messages were replaced: {got.Count} of {Messages} arrived.");
        await slow.AssertOpenAsync();
    }

    [Fact]
    public async Task Conflate_TooManyMessagesWithoutKey_ClosesWithCode1013()
    {
        const int Size = 1_000;
        await using var app = await StartAsync(256 * 1024);
        using var meters = new Meters(app);
        await using var slow = await Stall.OpenAsync(app);

        for (var i = 0; i < 1_000; i++)
            await app.Broadcaster.PublishAsync(Numbered.Make(i, Size), cancellationToken: TestContext.Current.CancellationToken);

        Assert.Equal(1013, await slow.ClosedWithAsync());
        await Eventually.True(() => app.Registry.Count == 0);
        Assert.Equal(1, meters.ByReason(Meters.Ended)["slow_consumer"]);
        LogAssert.NoErrors(app);
    }

    /// <summary>Publishes a message with one of at most 50 keys. Every tenth message has no key.</summary>
    internal static ValueTask<PublishResult> PublishAsync(BroadcastApp app, int number, int size = 200) => app.Broadcaster.PublishAsync(
        new Message(Numbered.Make(number, size), MessageType.Binary) { Key = KeyOf(number) },
        cancellationToken: TestContext.Current.CancellationToken);

    internal static Task<BroadcastApp> StartAsync(int backlog, TimeProvider? time = null) => BroadcastApp.StartAsync(
        builder =>
        {
            Stall.SmallSendBuffers(builder);
            if (time is not null) builder.Services.AddSingleton(time);
        },
        options: options =>
        {
            options.SlowConsumer = SlowConsumer.Conflate;
            options.MaxBacklogBytes = backlog;
            options.KeepAliveInterval = options.SendTimeout = Timeout.InfiniteTimeSpan;
        });

    /// <summary>Asserts that the messages are in order without duplicates, and that only replaced messages are missing.</summary>
    internal static void AssertConflated(List<int> got, int last)
    {
        Assert.Equal(got, got.Order().Distinct());
        var all = Enumerable.Range(0, last + 1).ToList();
        Assert.Empty(all.Where(number => KeyOf(number) is null).Except(got));
        var newest = all.Where(number => KeyOf(number) is not null).GroupBy(KeyOf).Select(key => key.Max());
        Assert.Empty(newest.Except(got));
    }

    internal static async Task<List<int>> ReadUntilAsync(RawClient client, int last)
    {
        var got = new List<int>();
        while (got is [] || got[^1] != last)
        {
            var frame = await client.ReadFrameAsync();
            Assert.Equal(ClientFrame.Binary, frame.Opcode);
            if (!Stall.IsFiller(frame)) got.Add(Numbered.Read(frame.Payload));
        }

        return got;
    }

    static string? KeyOf(int number) => number % 10 == 0 ? null : $"key {number * 7 % Keys}";
}
