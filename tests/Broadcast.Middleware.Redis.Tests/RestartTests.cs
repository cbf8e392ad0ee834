using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Tests;

/// <summary>Redis goes and comes back.</summary>
public sealed class RestartTests : FaultTest
{
    [Fact]
    public async Task A_Redis_that_comes_back_empty_is_told_as_a_loss_and_everything_goes_on_in_a_new_epoch()
    {
        var (one, two) = (await NodeAsync(), await NodeAsync());
        var before = await one.SubscribeAsync(Group);
        await two.SubscribeAsync(Group);
        one.Backplane.SetMember(Group, "member", "value"u8.ToArray());
        for (var i = 0; i < 3; i++) await one.PublishAsync(Group, $"{i}");
        foreach (var node in new[] { one, two }) await node.HeardAsync(Group, 3);
        await EventuallyAsync(async () => await two.Backplane.CountMembersAsync(Group, Token) == 1, "The member is there.");

        await Redis.KillAsync();
        var waits = two.PublishAsync(Group, "while it was away");
        await Redis.StartAgainAsync();
        var position = await waits;
        Assert.NotEqual(before.Position.Epoch, position.Epoch);
        foreach (var node in new[] { one, two }) await EventuallyAsync(() => new(node.Losses(Group) == 1), "The loss is told.");
        one.Begin(Group);
        var after = await one.SubscribeAsync(Group);
        Assert.Equal(position, after.Position);
        var next = await two.PublishAsync(Group, "after");
        await one.HeardAsync(Group, 1);
        Assert.Equal((next, "after"), one.Heard(Group).Single());
        await EventuallyAsync(async () => await two.Backplane.CountMembersAsync(Group, Token) == 1, "The member is there again.");
    }

    [Fact]
    public async Task A_Redis_that_is_emptied_while_everybody_is_connected_is_noticed_too()
    {
        var (one, two) = (await NodeAsync(), await NodeAsync());
        await one.SubscribeAsync(Group);
        one.Backplane.SetMember(Group, "member", "value"u8.ToArray());
        await EventuallyAsync(async () => await two.Backplane.CountMembersAsync(Group, Token) == 1, "The member is there.");
        await using var connection = await Redis.ConnectAsync();
        await connection.GetServers()[0].FlushAllDatabasesAsync();
        await EventuallyAsync(() => new(one.Losses(Group) == 1), "The loss is told.");
        await EventuallyAsync(async () => await two.Backplane.CountMembersAsync(Group, Token) == 1, "The member is there again.");
    }

    [Fact]
    public async Task What_is_published_while_Redis_stands_still_flows_when_it_goes_on_and_nothing_is_lost()
    {
        var (one, two) = (await NodeAsync(), await NodeAsync());
        foreach (var node in new[] { one, two }) await node.SubscribeAsync(Group);
        await one.PublishAsync(Group, "before");
        await Redis.StopAsync();
        // Longer than the nodes look after each other, shorter than a publish waits.
        var stoppedAt = TimeProvider.System.GetTimestamp();
        var waiting = Enumerable.Range(0, 100).Select(i => (i % 2 == 0 ? one : two).PublishAsync(Group, $"{i}").AsTask()).ToArray();
        await EventuallyAsync(() => new(TimeProvider.System.GetElapsedTime(stoppedAt) > TimeSpan.FromSeconds(3.5)), "It stands still for a while.");
        Assert.DoesNotContain(waiting, publish => publish.IsCompleted);
        await Redis.GoOnAsync();
        var positions = await Task.WhenAll(waiting);
        Assert.Equal(Enumerable.Range(2, 100).Select(i => (long)i), positions.Select(position => position.Offset).Order());
        foreach (var node in new[] { one, two })
        {
            await node.HeardAsync(Group, 101);
            var heard = node.Heard(Group);
            Assert.Equal(Enumerable.Range(1, 101).Select(i => (long)i), heard.Select(message => message.Position.Offset));
            foreach (var (position, i) in positions.Select((position, i) => (position, i))) Assert.Equal((position, $"{i}"), heard[position.Offset - 1]);
            Assert.Equal(0, node.Losses(Group));
        }
    }

    [Theory]
    [InlineData("00:00:00.2", false)]
    [InlineData("00:01:00", true)]
    public async Task A_Redis_that_comes_back_older_is_told_as_a_loss_however_far_it_has_come_since(string checkInterval, bool goesOn)
    {
        void Checks(RedisBackplaneOptions options) => options.CheckInterval = TimeSpan.Parse(checkInterval);
        var (one, two) = (await NodeAsync(configure: Checks), await NodeAsync(configure: Checks));
        var start = await one.SubscribeAsync(Group);
        for (var i = 1; i <= 5; i++) await one.PublishAsync(Group, $"{i}");
        await using var connection = await Redis.ConnectAsync();
        var names = new Keys("test", "", 0, []).Of(Group);
        var database = connection.GetDatabase();
        RedisKey[] keys = [names.State, names.Stream, names.Index];
        var dumps = new List<byte[]>();
        foreach (var key in keys) dumps.Add((await database.KeyDumpAsync(key))!);
        for (var i = 6; i <= 10; i++) await one.PublishAsync(Group, $"{i}");
        await one.HeardAsync(Group, 10);

        // As a replica that was promoted before it had the last five: at once, and as many new ones before anybody looks.
        var transaction = database.CreateTransaction();
        foreach (var (key, dump) in keys.Zip(dumps))
        {
            _ = transaction.KeyDeleteAsync(key);
            _ = transaction.KeyRestoreAsync(key, dump);
        }

        for (var i = 6; i <= (goesOn ? 10 : 15); i++) _ = PublishUnheard(transaction, names, i, $"other {i}");
        Assert.True(await transaction.ExecuteAsync());
        // Its offset is the very next one.
        if (goesOn) Assert.Equal(11, (await two.PublishAsync(Group, "goes on")).Offset);
        await EventuallyAsync(() => new(one.Losses(Group) == 1), "The loss is told.");
        Assert.Equal(Enumerable.Range(1, 10).Select(i => $"{i}"), Texts(one));
        var after = await two.SubscribeAsync(Group);
        Assert.NotEqual(start.Position.Epoch, after.Position.Epoch);
    }

    [Fact]
    public async Task A_Redis_that_comes_back_older_ends_the_epoch_also_where_its_new_batches_end_elsewhere()
    {
        var node = await NodeAsync();
        var start = await node.SubscribeAsync(Group);
        await using var connection = await Redis.ConnectAsync();
        var (database, names) = (connection.GetDatabase(), new Keys("test", "", 0, []).Of(Group));
        await Unheard.PublishAsync(database, names, 1, "before", count: 3);
        await node.HeardAsync(Group, 3);

        var epoch = await database.HashGetAsync(names.State, "e");
        var older = database.CreateTransaction();
        _ = older.KeyDeleteAsync([names.State, names.Stream, names.Index]);
        _ = older.HashSetAsync(names.State, "e", epoch);
        for (var i = 2; i <= 3; i++) _ = Unheard.PublishAsync(older, names, i, "after", count: 2);
        Assert.True(await older.ExecuteAsync());
        await EventuallyAsync(() => new(node.Losses(Group) == 1), "The loss is told.");
        Assert.NotEqual(epoch, await database.HashGetAsync(names.State, "e"));
        Assert.NotEqual(start.Position.Epoch, (await node.SubscribeAsync(Group)).Position.Epoch);
    }

    [Fact]
    public async Task A_Redis_that_comes_back_older_and_quiet_is_told_as_a_loss()
    {
        var one = await NodeAsync();
        await one.SubscribeAsync(Group);
        await one.PublishAsync(Group, "1");
        await using var connection = await Redis.ConnectAsync();
        var names = new Keys("test", "", 0, []).Of(Group);
        var database = connection.GetDatabase();
        await database.KeyCopyAsync(names.State, names.State.Append("!"));
        await one.PublishAsync(Group, "2");
        await one.HeardAsync(Group, 2);
        await database.KeyCopyAsync(names.State.Append("!"), names.State, replace: true);
        await EventuallyAsync(() => new(one.Losses(Group) == 1), "The loss is told.");
    }

    /// <summary>As another node would publish it, but for the channel, where nobody is.</summary>
    static Task PublishUnheard(IDatabaseAsync database, GroupKeys names, int number, string text) => Unheard.PublishAsync(database, names, number, text);
}
