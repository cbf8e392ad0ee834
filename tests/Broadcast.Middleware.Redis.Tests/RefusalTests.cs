using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Tests;

/// <summary>Redis is there, and does not do what it is asked to.</summary>
public sealed class RefusalTests : FaultTest
{
    const string Limited = "user=limited,password=secret";

    protected override bool IsThere => false;

    [Theory]
    [InlineData("OOM", "needs more memory", "CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0")]
    [InlineData("READONLY", "is a replica", "REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE")]
    [InlineData("MISCONF", "see its log", "CONFIG SET dir DIRECTORY", "CONFIG SET stop-writes-on-bgsave-error no")]
    [InlineData("WRONGTYPE", "choose another", "DEL test::{g:/a}:h;SET test::{g:/a}:h x", "DEL test::{g:/a}:h")]
    [InlineData("WRONGTYPE", "choose another", "DEL test::{g:/a}:i;SET test::{g:/a}:i x", "DEL test::{g:/a}:i")]
    [InlineData("NOPERM", "needs scripts", "ACL SETUSER limited -evalsha -eval", "ACL SETUSER limited +evalsha +eval")]
    [InlineData("NOPERM", "all keys", "ACL SETUSER limited resetkeys ~other:*", "ACL SETUSER limited ~test:*")]
    public async Task A_publisher_is_told_what_to_do_and_nobody_misses_anything(string code, string mend, string broken, string mended)
    {
        var directory = Directory.CreateTempSubdirectory("broadcast-refusal-").FullName;
        await Redis.StartAgainAsync("--enable-protected-configs", "yes", "--save", "3600 1");
        await using var connection = await Redis.ConnectAsync();
        await RunAsync(connection, "ACL SETUSER limited on >secret allkeys allchannels +@all");
        var (publisher, hearer) = (await NodeAsync($"{Redis.Configuration},{Limited}", options => options.PublishTimeout = TimeSpan.FromSeconds(1)), await NodeAsync());
        await hearer.SubscribeAsync(Group);
        Assert.Equal(1, (await publisher.PublishAsync(Group, "1")).Offset);
        await hearer.HeardAsync(Group, 1);

        await RunAsync(connection, broken.Replace("DIRECTORY", directory, StringComparison.Ordinal));
        Directory.Delete(directory, recursive: true);
        if (code == "MISCONF") await EventuallyAsync(
            async () =>
            {
                await TryAsync(() => RunAsync(connection, "BGSAVE"));
                return (await connection.GetServers()[0].InfoRawAsync("persistence"))!.Contains("rdb_last_bgsave_status:err", StringComparison.Ordinal);
            },
            "Redis cannot save.");
        var errors = await Task.WhenAll(Enumerable.Range(0, 3).Select(_ => Assert.ThrowsAsync<BackplaneException>(() => publisher.PublishAsync(Group, "failed").AsTask())));
        foreach (var error in errors)
        {
            Assert.True(error.Message.Contains($"Redis refused: {code}", StringComparison.Ordinal) && error.Message.Contains(mend, StringComparison.Ordinal), error.Message);
        }

        await RunAsync(connection, mended);
        await EventuallyAsync(async () => await TryAsync(() => publisher.PublishAsync(Group, "2").AsTask()), "It works again.");
        await hearer.HeardAsync(Group, 2);
        Assert.Equal(["1", "2"], Texts(hearer));
        Assert.Equal(0, hearer.Losses(Group));
    }

    [Fact]
    public async Task Scripts_that_Redis_has_forgotten_are_told_to_it_again()
    {
        await Redis.StartAgainAsync();
        var node = await NodeAsync();
        await node.SubscribeAsync(Group);
        await using var connection = await Redis.ConnectAsync();
        for (var i = 1; i <= 20; i++)
        {
            await RunAsync(connection, "SCRIPT FLUSH");
            await Task.WhenAll(node.PublishAsync(Group, $"{i}").AsTask(), node.PublishAsync("/b", $"{i}").AsTask());
        }

        await node.HeardAsync(Group, 20);
        Assert.Equal(Enumerable.Range(1, 20).Select(i => (long)i), node.Heard(Group).Select(heard => heard.Position.Offset));
    }

    [Fact]
    public async Task Who_may_not_use_the_channel_cannot_subscribe_until_it_may()
    {
        await Redis.StartAgainAsync();
        await using var connection = await Redis.ConnectAsync();
        await RunAsync(connection, "ACL SETUSER limited on >secret ~test:* resetchannels +@all");
        var node = await NodeAsync($"{Redis.Configuration},{Limited}", options => options.PublishTimeout = TimeSpan.FromSeconds(1));
        var error = await Assert.ThrowsAsync<BackplaneException>(() => node.SubscribeAsync(Group).AsTask());
        Assert.Contains("channels that begin with the prefix", error.Message, StringComparison.Ordinal);
        await RunAsync(connection, "ACL SETUSER limited &test:*");
        await EventuallyAsync(async () => await TryAsync(() => node.SubscribeAsync(Group).AsTask()), "It may.");
        await node.PublishAsync(Group, "hello");
        await node.HeardAsync(Group, 1);
    }

    [Fact]
    public async Task Whom_Redis_does_not_let_in_is_told_so()
    {
        await Redis.StartAgainAsync("--requirepass", "right");
        var node = await NodeAsync($"{Redis.Configuration},password=wrong", options => options.PublishTimeout = TimeSpan.FromSeconds(1));
        // It is not known as long as the first connection is still being tried.
        await EventuallyAsync(
            async () =>
            {
                var error = await Assert.ThrowsAsync<BackplaneException>(() => node.PublishAsync(Group, "").AsTask());
                Assert.DoesNotContain("wrong", error.Message, StringComparison.Ordinal);
                return error.Message.Contains("see to the user and the password", StringComparison.Ordinal);
            },
            "It is told so.",
            Patience * 2);
    }

    static async Task RunAsync(ConnectionMultiplexer connection, string commands)
    {
        foreach (var command in commands.Split(';'))
        {
            var words = command.Split(' ');
            await connection.GetServers()[0].ExecuteAsync(words[0], [.. words[1..]]);
        }
    }

    static async Task<bool> TryAsync(Func<Task> act)
    {
        try
        {
            await act();
            return true;
        }
        catch (Exception exception) when (exception is BackplaneException or RedisServerException)
        {
            return false;
        }
    }
}
