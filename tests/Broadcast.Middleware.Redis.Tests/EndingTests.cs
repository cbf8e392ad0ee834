using Broadcast.Middleware.Contracts;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Tests;

/// <summary>Nodes end, and calls are given up.</summary>
public sealed class EndingTests : FaultTest
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_node_ends_soon_and_tells_everybody_even_if_Redis_stands_still(bool ownConnection)
    {
        void Patient(RedisBackplaneOptions options) => options.PublishTimeout = TimeSpan.FromHours(1);
        await using var connection = await ConnectionMultiplexer.ConnectAsync(Redis.Configuration);
        var node = new Listener(ownConnection ? await Nodes.CreateAsync(connection, Patient) : await Nodes.CreateAsync(Redis.Configuration, Patient), Patience);
        node.Backplane.Start(node);
        await node.SubscribeAsync(Group);
        await node.PublishAsync(Group, "1");
        await Redis.StopAsync();
        var outbox = ((RedisBackplane)node.Backplane).Outbox;
        Task[] waiting =
        [
            .. Enumerable.Range(0, 100).Select(i => node.PublishAsync(i % 2 == 0 ? Group : $"/{i}", $"{i}").AsTask()),
            node.SubscribeAsync("/b").AsTask(),
            node.Backplane.CountMembersAsync(Group, Token).AsTask(),
        ];
        node.Backplane.SetMember(Group, "m", default);
        Assert.NotEqual(0, outbox.Bytes);
        await ((IAsyncDisposable)node.Backplane).DisposeAsync().AsTask().WaitAsync(TimeSpan.FromSeconds(3), Token);
        foreach (var task in waiting)
        {
            var error = await Assert.ThrowsAsync<BackplaneException>(() => task.WaitAsync(TimeSpan.FromSeconds(1), Token));
            Assert.Contains("has ended", error.Message, StringComparison.Ordinal);
        }

        Assert.Equal(0, outbox.Bytes);
        await Redis.GoOnAsync();
        foreach (var act in new Func<Task>[] { () => node.PublishAsync(Group, "").AsTask(), () => node.SubscribeAsync("/c").AsTask() })
            Assert.Contains("has ended", (await Assert.ThrowsAsync<BackplaneException>(act)).Message, StringComparison.Ordinal);
        await NobodyListensAsync();
    }

    [Fact]
    public async Task A_subscription_that_is_given_up_at_any_moment_leaves_nothing_behind()
    {
        var line = Line();
        var node = await NodeAsync(line.Configuration);
        await node.PublishAsync(Group, "1", new() { HistoryMessages = 10 });
        var random = new Random(1);
        var cancelled = 0;
        for (var round = 0; round < 300; round++)
        {
            using var source = new CancellationTokenSource();
            var subscribing = node.Backplane.SubscribeAsync(Group, new() { HistoryMessages = 10 }, source.Token).AsTask();
            for (var spins = random.Next(0, 2000); spins > 0; spins--) await Task.Yield();
            if (round % 50 == 49) line.Cut();
            await source.CancelAsync();
            try
            {
                await subscribing;
                node.Unsubscribe(Group);
            }
            catch (OperationCanceledException)
            {
                cancelled++;
            }
        }

        Assert.InRange(cancelled, 1, 300);
        TestContext.Current.TestOutputHelper?.WriteLine($"{cancelled} of 300 were cancelled.");
        await NobodyListensAsync();
        node.Begin(Group);
        Assert.Equal("1"u8.ToArray(), (await node.SubscribeAsync(Group, new() { HistoryMessages = 10 })).History.Single().ToArray());
        await node.PublishAsync(Group, "2");
        await EventuallyAsync(() => new(Texts(node) is [.., "2"]), "It is heard.");
    }

    [Fact]
    public async Task A_subscription_whose_time_is_up_leaves_nothing_behind()
    {
        var line = Line();
        var node = await NodeAsync(line.Configuration, options => options.PublishTimeout = TimeSpan.FromMilliseconds(300));
        await node.SubscribeAsync("/other");
        line.DropAnswers();
        for (var round = 0; round < 3; round++) await Assert.ThrowsAsync<BackplaneException>(() => node.SubscribeAsync(Group).AsTask());
        line.Cut();
        node.Unsubscribe("/other");
        await NobodyListensAsync();
        await EventuallyAsync(
            async () =>
            {
                try
                {
                    await node.SubscribeAsync(Group);
                    return true;
                }
                catch (BackplaneException)
                {
                    return false;
                }
            },
            "It can subscribe.");
        await node.PublishAsync(Group, "1");
        await node.HeardAsync(Group, 1);
    }

    async Task NobodyListensAsync()
    {
        await using var connection = await Redis.ConnectAsync();
        var server = connection.GetServers()[0];
        await EventuallyAsync(async () => (await server.SubscriptionChannelsAsync(RedisChannel.Pattern("test:*"))).Length == 0, "Nobody listens any more.");
    }
}
