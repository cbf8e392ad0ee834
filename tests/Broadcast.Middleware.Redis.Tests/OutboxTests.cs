using Broadcast.Middleware.Contracts;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;

namespace Broadcast.Middleware.Redis.Tests;

/// <summary>Redis is not there, or goes while something is published.</summary>
public sealed class OutboxTests : FaultTest
{
    protected override bool IsThere => false;

    [Fact]
    public async Task A_node_that_starts_before_Redis_works_when_it_is_there()
    {
        var node = await NodeAsync(configure: options => options.PublishTimeout = TimeSpan.FromMinutes(1));
        var subscribing = node.SubscribeAsync(Group).AsTask();
        node.Backplane.SetMember(Group, "m", default);
        var counting = node.Backplane.CountMembersAsync(Group, Token).AsTask();
        Assert.False(subscribing.IsCompleted);
        await Redis.StartAgainAsync();
        Assert.Equal(0, (await subscribing).Position.Offset);
        Assert.Equal(1, await counting);
        await node.PublishAsync(Group, "hello");
        await node.HeardAsync(Group, 1);
    }

    [Fact]
    public async Task What_waits_flows_in_order_when_Redis_is_there_and_what_does_not_fit_fails_at_once()
    {
        var node = await NodeAsync(configure: options => (options.PublishTimeout, options.MaxOutboxBytes) = (TimeSpan.FromMinutes(1), 100_000));
        var waiting = new List<Task<Position>>();
        while (true)
        {
            var publish = node.Backplane.PublishAsync(Group, new byte[] { (byte)waiting.Count }.Concat(new byte[999]).ToArray(), null, Token).AsTask();
            if (publish.IsCompleted)
            {
                var error = await Assert.ThrowsAsync<BackplaneException>(() => publish);
                Assert.Contains("outbox is full", error.Message, StringComparison.Ordinal);
                Assert.Contains("MaxOutboxBytes is 100000", error.Message, StringComparison.Ordinal);
                break;
            }

            waiting.Add(publish);
        }

        Assert.Equal(100_000 / 1064, waiting.Count);
        // For other groups there is no room either.
        await Assert.ThrowsAsync<BackplaneException>(() => node.Backplane.PublishAsync("/b", new byte[1000], null, Token).AsTask());
        await Redis.StartAgainAsync();
        var positions = await Task.WhenAll(waiting);
        Assert.Equal(Enumerable.Range(1, waiting.Count).Select(i => (long)i), positions.Select(position => position.Offset));
        // There is room again.
        await Task.WhenAll(Enumerable.Range(0, 90).Select(_ => node.Backplane.PublishAsync(Group, new byte[1000], null, Token).AsTask()));
        var other = await NodeAsync();
        var kept = await other.SubscribeAsync(Group, new() { HistoryMessages = 1000 });
        Assert.Equal(Enumerable.Range(0, waiting.Count), kept.History.Take(waiting.Count).Select(message => (int)message.Span[0]));
    }

    [Fact]
    public async Task A_publish_and_whatever_needs_an_answer_wait_for_so_long_and_no_longer()
    {
        var node = await NodeAsync(configure: options => options.PublishTimeout = TimeSpan.FromMilliseconds(300));
        foreach (var act in new Func<Task>[]
        {
            () => node.PublishAsync(Group, "").AsTask(),
            () => node.SubscribeAsync(Group).AsTask(),
            () => node.Backplane.CountMembersAsync(Group, Token).AsTask(),
            () => node.Backplane.GetMembersAsync(Group, Token).AsTask(),
        })
        {
            var started = TimeProvider.System.GetTimestamp();
            await Assert.ThrowsAsync<BackplaneException>(act);
            Assert.InRange(TimeProvider.System.GetElapsedTime(started), TimeSpan.FromMilliseconds(250), TimeSpan.FromSeconds(10));
        }

        // What was given up is not done later.
        await Redis.StartAgainAsync();
        await EventuallyAsync(async () => await TryAsync(() => node.SubscribeAsync(Group).AsTask()), "It works at last.");
        Assert.Equal(1, (await node.PublishAsync(Group, "first")).Offset);
        await node.HeardAsync(Group, 1);
    }

    [Fact]
    public async Task Each_of_several_publishes_to_a_group_waits_for_its_own_time()
    {
        var time = new FakeTimeProvider();
        var backplane = await Nodes.CreateAsync(builder =>
        {
            builder.Services.AddSingleton<TimeProvider>(time);
            builder.AddRedis(Redis.Configuration, options => (options.Prefix, options.PublishTimeout) = ("test", TimeSpan.FromSeconds(10)));
        });
        backplane.Start(new Listener(backplane, Patience));
        var publishes = new List<Task<Position>>();
        // The first is under way alone, and the others wait behind it: at 0, 3 and 6 seconds.
        for (var i = 0; i < 3; i++, time.Advance(TimeSpan.FromSeconds(3))) publishes.Add(backplane.PublishAsync(Group, new byte[1], null, Token).AsTask());
        Assert.DoesNotContain(publishes, static publish => publish.IsCompleted);
        foreach (var publish in publishes)
        {
            // 9.1, 12.1 and 15.1 seconds; then 10.1, 13.1 and 16.1.
            time.Advance(TimeSpan.FromSeconds(0.1));
            Assert.False(publish.IsCompleted);
            time.Advance(TimeSpan.FromSeconds(1));
            await Assert.ThrowsAsync<BackplaneException>(() => publish.WaitAsync(Patience, Token));
            time.Advance(TimeSpan.FromSeconds(1.9));
        }
    }

    [Fact]
    public async Task An_app_can_end_while_it_waits_for_Redis()
    {
        var node = await NodeAsync(configure: options => options.PublishTimeout = TimeSpan.FromHours(1));
        var waiting = node.PublishAsync(Group, "").AsTask();
        node.Backplane.SetMember(Group, "m", default);
        await ((IAsyncDisposable)node.Backplane).DisposeAsync().AsTask().WaitAsync(TimeSpan.FromSeconds(5), Token);
        await Assert.ThrowsAsync<BackplaneException>(() => waiting);
    }

    [Fact]
    public async Task It_can_be_set_to_fail_at_once()
    {
        var node = await NodeAsync(configure: options => (options.PublishTimeout, options.WhenUnreachable) = (TimeSpan.FromHours(1), WhenUnreachable.Fail));
        var publish = node.PublishAsync(Group, "").AsTask();
        Assert.True(publish.IsCompleted);
        var error = await Assert.ThrowsAsync<BackplaneException>(() => publish);
        Assert.Contains("WhenUnreachable is Fail", error.Message, StringComparison.Ordinal);
        await Redis.StartAgainAsync();
        await EventuallyAsync(async () => await TryAsync(() => node.PublishAsync(Group, "").AsTask()), "It works at last.");
    }

    [Fact]
    public async Task A_waiting_publish_can_be_cancelled_and_makes_room()
    {
        var node = await NodeAsync(configure: options => (options.PublishTimeout, options.MaxOutboxBytes) = (TimeSpan.FromMinutes(1), 65_536));
        using var cancellation = new CancellationTokenSource();
        var large = node.Backplane.PublishAsync(Group, new byte[60_000], null, cancellation.Token).AsTask();
        await Assert.ThrowsAsync<BackplaneException>(() => node.Backplane.PublishAsync(Group, new byte[60_000], null, Token).AsTask());
        await cancellation.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => large);
        var second = node.Backplane.PublishAsync(Group, new byte[60_000], null, Token).AsTask();
        await Redis.StartAgainAsync();
        // The first may have been under way already.
        Assert.InRange((await second).Offset, 1, 2);
    }

    [Fact]
    public async Task Publishes_that_are_cancelled_do_not_pile_up()
    {
        var node = await NodeAsync(configure: options => options.PublishTimeout = TimeSpan.FromHours(1));
        var outbox = ((RedisBackplane)node.Backplane).Outbox;
        // The batch under way is one that nobody gives up.
        var kept = new List<Task<Position>> { node.PublishAsync(Group, "0").AsTask() };
        await EventuallyAsync(() => new(outbox.Count == 0), "It is under way.");
        for (var round = 1; round <= 10; round++)
        {
            kept.Add(node.PublishAsync(Group, $"{round}").AsTask());
            using var source = new CancellationTokenSource();
            var cancelled = Enumerable.Range(0, 1000).Select(_ => node.Backplane.PublishAsync(Group, new byte[1000], null, source.Token).AsTask()).ToArray();
            await source.CancelAsync();
            foreach (var task in cancelled) await Assert.ThrowsAnyAsync<OperationCanceledException>(() => task);
            Assert.InRange(outbox.Count, 1, 3000);
        }

        Assert.InRange(outbox.Bytes, 1, kept.Count * 100);
        await Redis.StartAgainAsync();
        Assert.Equal(Enumerable.Range(1, kept.Count).Select(i => (long)i), (await Task.WhenAll(kept)).Select(position => position.Offset));
        Assert.Equal((0, 0), (outbox.Bytes, outbox.Count));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public async Task Whatever_becomes_of_publishes_their_room_is_given_back(int seed)
    {
        await Redis.StartAgainAsync();
        var line = Line();
        var node = await NodeAsync(line.Configuration, options => (options.PublishTimeout, options.MaxOutboxBytes) = (TimeSpan.FromMilliseconds(400), 65_536));
        var outbox = ((RedisBackplane)node.Backplane).Outbox;
        var random = new Random(seed);
        var (published, failed, cancelled) = (0, 0, 0);
        var publishing = new List<Task>();
        for (var round = 0; round < 40; round++)
        {
            for (var i = 0; i < 30; i++) publishing.Add(PublishAsync($"/{random.Next(3)}", random.Next(3000), random.Next(5) == 0 ? random.Next(20) : null));
            if (round % 8 == 2) line.Cut();
            if (round % 8 == 4) line.Close();
            if (round % 8 == 7) line.Open();
            if (round == 12) line.DropAnswers();
            Assert.InRange(outbox.Bytes, 0, 65_536);
            if (random.Next(2) == 0) await Task.WhenAll(publishing);
        }

        await Task.WhenAll(publishing);
        Assert.Equal(0, outbox.Bytes);
        await EventuallyAsync(() => new(outbox.Count == 0), "Nothing waits.");
        TestContext.Current.TestOutputHelper?.WriteLine($"{published} published, {failed} failed, {cancelled} cancelled");
        Assert.True(published > 0 && failed > 0 && cancelled > 0);

        async Task PublishAsync(string group, int size, int? cancelAfter)
        {
            using var source = new CancellationTokenSource();
            if (cancelAfter is { } milliseconds) source.CancelAfter(milliseconds);
            try
            {
                await node.Backplane.PublishAsync(group, new byte[size], null, source.Token);
                Interlocked.Increment(ref published);
            }
            catch (BackplaneException)
            {
                Interlocked.Increment(ref failed);
            }
            catch (OperationCanceledException)
            {
                Interlocked.Increment(ref cancelled);
            }
        }
    }

    [Fact]
    public async Task A_publish_whose_answer_was_lost_takes_effect_once_and_gets_its_position()
    {
        await Redis.StartAgainAsync();
        var line = Line();
        var (sender, hearer) = (await NodeAsync(line.Configuration), await NodeAsync());
        await hearer.SubscribeAsync(Group);
        await sender.PublishAsync(Group, "0");
        for (var round = 1; round <= 5; round++)
        {
            line.DropAnswers();
            var publish = sender.PublishAsync(Group, $"{round}").AsTask();
            await hearer.HeardAsync(Group, round + 1);
            Assert.False(publish.IsCompleted);
            line.Cut();
            Assert.Equal(hearer.Heard(Group)[^1].Position, await publish);
        }

        Assert.Equal(7, (await sender.PublishAsync(Group, "last")).Offset);
        await hearer.HeardAsync(Group, 7);
        Assert.Equal(["0", "1", "2", "3", "4", "5", "last"], Texts(hearer));
    }

    [Fact]
    public async Task A_publish_that_was_given_up_and_arrives_after_a_later_one_is_not_heard()
    {
        await Redis.StartAgainAsync();
        var node = await NodeAsync();
        await node.SubscribeAsync(Group);
        await using var connection = await Redis.ConnectAsync();
        var names = new Keys("test", "", 0, []).Of(Group);
        await Unheard.PublishAsync(connection.GetDatabase(), names, 2, "later");
        var error = await Assert.ThrowsAsync<StackExchange.Redis.RedisServerException>(() => Unheard.PublishAsync(connection.GetDatabase(), names, 1, "given up"));
        Assert.StartsWith(Scripts.Superseded, error.Message, StringComparison.Ordinal);
        await Unheard.PublishAsync(connection.GetDatabase(), names, 2, "later");
        Assert.Equal(2, (await node.PublishAsync(Group, "last")).Offset);
        await node.HeardAsync(Group, 2);
        Assert.Equal(["later", "last"], Texts(node));
    }

    static async Task<bool> TryAsync(Func<Task> act)
    {
        try
        {
            await act();
            return true;
        }
        catch (BackplaneException)
        {
            return false;
        }
    }
}
