using Broadcast.Middleware.Contracts;
using Microsoft.Extensions.Diagnostics.Metrics.Testing;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Tests;

/// <summary>Nodes miss something.</summary>
public sealed class RepairTests : FaultTest
{
    [Fact]
    public async Task A_last_message_that_was_lost_on_the_way_is_noticed_without_a_next_one()
    {
        var node = await NodeAsync();
        await node.SubscribeAsync(Group);
        await node.PublishAsync(Group, "1");
        await node.HeardAsync(Group, 1);
        await using var connection = await Redis.ConnectAsync();
        var names = new Keys("test", "", 0, []).Of(Group);
        await Unheard.PublishAsync(connection.GetDatabase(), names, 1, "2");
        await node.HeardAsync(Group, 2);
        Assert.Equal(["1", "2"], Texts(node));
    }

    [Fact]
    public async Task A_message_that_was_lost_on_the_way_is_handed_out_before_the_next_one()
    {
        // It would take an hour to notice without a next one.
        var node = await NodeAsync(configure: options => options.CheckInterval = TimeSpan.FromMinutes(1));
        await node.SubscribeAsync(Group);
        await using var connection = await Redis.ConnectAsync();
        var names = new Keys("test", "", 0, []).Of(Group);
        for (var round = 0; round < 20; round++)
        {
            await Unheard.PublishAsync(connection.GetDatabase(), names, round + 1, $"{2 * round}");
            await node.PublishAsync(Group, $"{2 * round + 1}");
        }

        await node.HeardAsync(Group, 40);
        Assert.Equal(Enumerable.Range(0, 40).Select(i => $"{i}"), Texts(node));
        Assert.Equal(Enumerable.Range(1, 40).Select(i => (long)i), node.Heard(Group).Select(message => message.Position.Offset));
    }

    [Fact]
    public async Task A_node_that_was_away_catches_up_in_order()
    {
        var line = Line();
        var (away, there) = (await NodeAsync(line.Configuration), await NodeAsync());
        foreach (var node in new[] { away, there }) await node.SubscribeAsync(Group);
        await there.PublishAsync(Group, "0");
        await away.HeardAsync(Group, 1);
        line.Close();
        // More than is read at once.
        for (var i = 1; i <= 200; i++) await there.PublishAsync(Group, $"{i}");
        line.Open();
        await away.HeardAsync(Group, 201);
        Assert.Equal(there.Heard(Group), away.Heard(Group));
        Assert.Equal(0, away.Losses(Group));
    }

    [Fact]
    public async Task A_node_that_was_away_for_longer_than_Redis_remembers_is_told_so_once()
    {
        static void Little(RedisBackplaneOptions options) => options.RepairMessages = 10;
        var line = Line();
        var (away, there) = (await NodeAsync(line.Configuration, Little), await NodeAsync(configure: Little));
        foreach (var node in new[] { away, there }) await node.SubscribeAsync(Group);
        await there.PublishAsync(Group, "0");
        await away.HeardAsync(Group, 1);
        line.Close();
        for (var i = 1; i <= 50; i++) await there.PublishAsync(Group, $"{i}");
        line.Open();
        await EventuallyAsync(() => new(away.Losses(Group) == 1), "The loss is told.");
        Assert.Equal(["0"], Texts(away));
        away.Begin(Group);
        Assert.Equal(51, (await away.SubscribeAsync(Group)).Position.Offset);
        await there.PublishAsync(Group, "51");
        await away.HeardAsync(Group, 1);
        Assert.Equal(["51"], Texts(away));
    }

    [Fact]
    public async Task A_slow_receiver_holds_up_its_own_group_only_and_misses_nothing()
    {
        const int Messages = 200;
        void Much(RedisBackplaneOptions options) => options.RepairBytes = 1 << 30;
        var slow = new SlowReceiver("/slow");
        var node = await Nodes.CreateAsync(Redis.Configuration, Much);
        node.Start(slow);
        var publisher = await NodeAsync(configure: Much);
        await node.SubscribeAsync("/slow", null, Token);
        await node.SubscribeAsync("/quick", null, Token);
        // Ten times what waits for a receiver.
        for (var i = 0; i < Messages; i++) await publisher.Backplane.PublishAsync("/slow", Enumerable.Repeat((byte)i, 200_000).ToArray(), null, Token);
        await publisher.PublishAsync("/quick", "hello");
        await EventuallyAsync(() => new(slow.Count("/quick") == 1), "The other group goes on.");
        Assert.Equal(0, slow.Count("/slow"));
        slow.GoOn();
        await EventuallyAsync(() => new(slow.Count("/slow") == Messages), "Everything comes in the end.");
        Assert.Equal(Enumerable.Range(0, Messages), slow.First("/slow"));
        Assert.False(slow.HasLost);
    }

    [Fact]
    public async Task Members_of_a_node_that_was_away_are_gone_and_come_back_with_it()
    {
        var line = Line();
        var (away, there) = (await NodeAsync(line.Configuration), await NodeAsync());
        away.Backplane.SetMember(Group, "stays", default);
        away.Backplane.SetMember(Group, "goes", default);
        there.Backplane.SetMember(Group, "there", default);
        await NamesAsync("goes", "stays", "there");
        line.Close();
        away.Backplane.RemoveMember(Group, "goes");
        away.Backplane.SetMember(Group, "comes", default);
        await NamesAsync("there");
        line.Open();
        await NamesAsync("comes", "stays", "there");

        Task NamesAsync(params string[] names) => EventuallyAsync(
            async () => (await there.Backplane.GetMembersAsync(Group, Token)).Select(member => member.Name).Order().SequenceEqual(names)
                && await there.Backplane.CountMembersAsync(Group, Token) == names.Length,
            $"The members are {string.Join(", ", names)}.");
    }

    [Fact]
    public async Task A_node_that_ends_takes_its_members_with_it_at_once()
    {
        // It would take 12 seconds to notice.
        var leaves = await Nodes.CreateAsync(Redis.Configuration, _ => { }, quick: false);
        leaves.Start(new SlowReceiver(""));
        var stays = await NodeAsync();
        leaves.SetMember(Group, "m", default);
        await EventuallyAsync(async () => await stays.Backplane.CountMembersAsync(Group, Token) == 1, "The member is there.");
        await ((IAsyncDisposable)leaves).DisposeAsync();
        Assert.Equal(0, await stays.Backplane.CountMembersAsync(Group, Token));
    }

    [Fact]
    public async Task A_node_whose_subscription_is_gone_for_whatever_reason_misses_nothing_and_subscribes_again()
    {
        await using var connection = await ConnectionMultiplexer.ConnectAsync(Redis.Configuration);
        var node = new Listener(await Nodes.CreateAsync(connection, _ => { }), Patience);
        node.Backplane.Start(node);
        var there = await NodeAsync();
        await node.SubscribeAsync(Group);
        using var received = new MetricCollector<long>(Nodes.MetersOf(node.Backplane), RedisMetrics.MeterName, "broadcast.redis.received");
        await connection.GetSubscriber().UnsubscribeAllAsync();
        var published = 0;
        await EventuallyAsync(
            async () =>
            {
                await there.PublishAsync(Group, $"{published++}");
                await node.HeardAsync(Group, published);
                return received.GetMeasurementSnapshot().Count > 0;
            },
            "Something comes through the channel.");
        Assert.Equal(Enumerable.Range(0, published).Select(i => $"{i}"), Texts(node));
        Assert.NotEqual(1, published);
    }

    [Theory]
    [InlineData("")]
    [InlineData(",protocol=resp2")]
    public async Task A_connection_that_swallows_everything_is_given_up_before_the_node_counts_as_dead(string more)
    {
        var line = Line();
        void Usual(RedisBackplaneOptions options) => (options.NodeTimeout, options.CheckInterval) = (TimeSpan.FromSeconds(12), TimeSpan.FromSeconds(2));
        var (away, there) = (await NodeAsync(line.Configuration + more, Usual), await NodeAsync());
        foreach (var node in new[] { away, there }) await node.SubscribeAsync(Group);
        away.Backplane.SetMember(Group, "m", default);
        await EventuallyAsync(async () => await there.Backplane.CountMembersAsync(Group, Token) == 1, "The member is there.");
        await there.PublishAsync(Group, "0");
        await away.HeardAsync(Group, 1);
        line.Swallow();
        for (var i = 1; i <= 50; i++) await there.PublishAsync(Group, $"{i}");
        // Of the member nothing is forgotten meanwhile, so it never took longer than the node counts as alive.
        var members = 1L;
        await EventuallyAsync(
            async () =>
            {
                members = Math.Min(members, await there.Backplane.CountMembersAsync(Group, Token));
                return away.Heard(Group).Length == 51;
            },
            "Everything is heard.");
        Assert.Equal(there.Heard(Group), away.Heard(Group));
        Assert.Equal((1, 0), (members, away.Losses(Group)));
        await away.PublishAsync(Group, "51");
    }

    [Fact]
    public async Task A_quiet_group_keeps_its_epoch_as_long_as_somebody_listens()
    {
        var node = await NodeAsync();
        var start = await node.SubscribeAsync(Group);
        await using var connection = await Redis.ConnectAsync();
        var state = new Keys("test", "", 0, []).Of(Group).State;
        var database = connection.GetDatabase();
        await database.KeyExpireAsync(state, TimeSpan.FromSeconds(10));
        await EventuallyAsync(async () => await database.KeyTimeToLiveAsync(state) > TimeSpan.FromSeconds(60), "It is kept for longer again.");
        Assert.Equal(new(start.Position.Epoch, 1), await node.PublishAsync(Group, "1"));
    }

    [Fact]
    public async Task What_has_become_too_old_is_trimmed_some_at_a_time_and_not_handed_out()
    {
        var options = new GroupOptions { HistoryMessages = 100 };
        var node = await NodeAsync(configure: options => (options.RepairMessages, options.RepairBytes) = (10_000_000, 1 << 30));
        for (var i = 0; i < 1000; i++) await node.PublishAsync(Group, $"{i}", options);
        await using var connection = await Redis.ConnectAsync();
        var stream = new Keys("test", "", 0, []).Of(Group).Stream;
        Assert.Equal(1000, await connection.GetDatabase().StreamLengthAsync(stream));
        var small = await NodeAsync(configure: options => options.RepairMessages = 10);
        long[] lengths = [1000 + 1 - 256, 1000 + 2 - 512, 1000 + 3 - 768, 100, 101];
        foreach (var length in lengths)
        {
            await small.PublishAsync(Group, "more", options);
            Assert.Equal(length, await connection.GetDatabase().StreamLengthAsync(stream));
            Assert.Equal(100, (await small.SubscribeAsync(Group, options)).History.Count);
            small.Unsubscribe(Group);
        }
    }

    [Fact]
    public async Task What_is_known_of_nodes_that_publish_no_more_is_forgotten_when_there_are_many()
    {
        await using var connection = await Redis.ConnectAsync();
        var (database, names) = (connection.GetDatabase(), new Keys("test", "", 0, []).Of(Group));
        for (var i = 0; i < 100; i++) await Unheard.PublishAsync(database, names, i, "1", node: $"{i}");
        Assert.Equal(5 + 100, await database.HashLengthAsync(names.State));
        // Whose batch came within the same millisecond stays.
        await Unheard.PublishAsync(database, names, 100, "1", node: "100", keepTaken: 0);
        Assert.InRange(await database.HashLengthAsync(names.State), 5 + 1, 5 + 10);
        Assert.True(await database.HashExistsAsync(names.State, "100"));
        Assert.Equal(101, (long)await database.HashGetAsync(names.State, "o"));
    }

    [Fact]
    public async Task A_healthy_node_never_has_to_catch_up()
    {
        var node = await NodeAsync();
        using var refills = new MetricCollector<long>(Nodes.MetersOf(node.Backplane), "Broadcast.Redis", "broadcast.redis.refills");
        await node.SubscribeAsync(Group);
        for (var i = 0; i < 3000; i++) await node.PublishAsync(Group, $"{i}");
        await node.HeardAsync(Group, 3000);
        Assert.Empty(refills.GetMeasurementSnapshot());
    }

    sealed class SlowReceiver(string slow) : IBackplaneReceiver
    {
        readonly TaskCompletionSource _goOn = new();
        readonly Dictionary<string, List<int>> _heard = [];

        public bool HasLost { get; private set; }

        public void GoOn() => _goOn.TrySetResult();

        public int Count(string group)
        {
            lock (_heard) return _heard.TryGetValue(group, out var heard) ? heard.Count : 0;
        }

        public int[] First(string group)
        {
            lock (_heard) return [.. _heard[group]];
        }

        public void OnMessage(string group, Position position, ReadOnlyMemory<byte> message)
        {
            if (group == slow) _goOn.Task.Wait(Token);
            lock (_heard)
            {
                if (!_heard.TryGetValue(group, out var heard)) _heard[group] = heard = [];
                heard.Add(message.Span[0]);
            }
        }

        public void OnLost(string group) => HasLost = true;
    }
}
