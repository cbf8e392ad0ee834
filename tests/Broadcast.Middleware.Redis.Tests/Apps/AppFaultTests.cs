namespace Broadcast.Middleware.Redis.Tests.Apps;

/// <summary>Redis is killed, and comes back with all it had: nobody has to know.</summary>
public sealed class KilledTests : AppFaultTest
{
    [Fact]
    public async Task Nothing_is_lost_when_Redis_is_killed_and_has_kept_what_it_had()
    {
        await BeginAsync(await RedisServer.StartAsync(KeepsAll));
        await PublishWhileAsync("killed", Some, KillAsync, Told.Nobody);
        await EndAsync();
    }
}

/// <summary>Redis is killed, and comes back empty.</summary>
public sealed class RestartedEmptyTests : AppFaultTest
{
    [Fact]
    public async Task Everybody_is_told_when_Redis_comes_back_empty_and_goes_on_in_a_new_epoch()
    {
        await BeginAsync(await RedisServer.StartAsync(KeepsAll));
        await PublishWhileAsync("restarted empty", Some, RestartEmptyAsync, Told.All);
        await EndAsync();
    }
}

/// <summary>Redis is emptied while everybody is connected.</summary>
public sealed class EmptiedTests : AppFaultTest
{
    [Fact]
    public async Task Everybody_is_told_when_Redis_is_emptied_and_goes_on_in_a_new_epoch()
    {
        await BeginAsync(await RedisServer.StartAsync());
        await using var connection = await Redis.ConnectAsync();
        await PublishWhileAsync("emptied", Some, () => connection.GetServers()[0].FlushAllDatabasesAsync(), Told.All);
        await EndAsync();
    }
}

/// <summary>Redis stands still for longer than a publish waits.</summary>
public sealed class StoppedTests : AppFaultTest
{
    [Fact]
    public async Task Nothing_is_lost_and_nobody_sent_away_when_Redis_stands_still_for_30_seconds()
    {
        await BeginAsync(await RedisServer.StartAsync());
        await PublishWhileAsync("stopped", Some, StopAsync, Told.Nobody);
        await EndAsync();
    }
}

/// <summary>A node cannot reach Redis, and the others can.</summary>
public sealed class CutOffTests : AppFaultTest
{
    [Fact]
    public async Task Nothing_is_lost_and_nobody_sent_away_when_a_node_is_cut_off_for_as_long_as_Redis_remembers()
    {
        await BeginAsync(await RedisServer.StartAsync());
        await PublishWhileAsync("cut off", Some, CutOffAsync, Told.Nobody);
        await EndAsync();
    }

    [Fact]
    public async Task Only_who_is_on_a_node_that_is_cut_off_for_longer_is_told()
    {
        await BeginAsync(static options => options.RepairMessages = 1, await RedisServer.StartAsync());
        await PublishWhileAsync("cut off for long", Some * 2, CutOffAsync, Told.OfFirstNode);
        await EndAsync();
    }
}

/// <summary>Redis dies, and its replica takes its place.</summary>
public sealed class FailoverTests : AppFaultTest
{
    [Fact]
    public async Task Everybody_has_everything_or_is_told_when_a_replica_takes_over()
    {
        var redis = await RedisServer.StartAsync();
        await BeginAsync(redis, await ReplicaOfAsync(redis.Port));
        await PublishWhileAsync("failover", Some, FailOverAsync, Told.AllOrNobody);
        await EndAsync();
    }

    [Fact]
    public async Task Everybody_is_told_when_a_replica_takes_over_that_has_not_got_everything()
    {
        var redis = await RedisServer.StartAsync();
        await using var line = new Line(redis.Port);
        await BeginAsync(redis, await ReplicaOfAsync(line.Port));
        RedisForgets();
        await PublishWhileAsync("failover to an older one", Some, async () =>
        {
            line.Close();
            await OthersHavePublishedAsync();
            await FailOverAsync();
        }, Told.All);
        await EndAsync();
    }
}

/// <summary>All of it, with 8 publishers of 50,000 messages each.</summary>
public sealed class EverythingTests : AppFaultTest
{
    [Fact]
    public async Task Every_subscriber_has_every_message_once_in_one_order_or_was_told_whatever_happens()
    {
        const int Each = 50_000 / 5;
        var redis = await RedisServer.StartAsync(KeepsAll);
        await BeginAsync(redis, await ReplicaOfAsync(redis.Port));
        await PublishWhileAsync("cut off", Each, CutOffAsync, Told.Nobody);
        await PublishWhileAsync("killed", Each, KillAsync, Told.Nobody);
        await PublishWhileAsync("stopped", Each, StopAsync, Told.Nobody);
        await PublishWhileAsync("restarted empty", Each, RestartEmptyAsync, Told.All);
        await PublishWhileAsync("failover", Each, FailOverAsync, Told.AllOrNobody);
        await EndAsync();
    }
}
