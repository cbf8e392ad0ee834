using Broadcast.Middleware.Redis.Connections;
using Broadcast.Middleware.Redis.Tests.Infrastructure;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Tests.Connections;

/// <summary>Tests the errors of a node when Redis is reachable but refuses commands.</summary>
public sealed class RedisErrorsTests : RedisTest
{
    const string LimitedUser = "user=limited,password=secret";

    protected override bool StartsRedis => false;

    [Theory]
    [InlineData("OOM", "more memory", "CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0")]
    [InlineData("READONLY", "is a replica", "REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE")]
    [InlineData(
        "MISCONF", "See the log of Redis", "CONFIG SET dir DIRECTORY", "CONFIG SET stop-writes-on-bgsave-error no")]
    [InlineData(
        "WRONGTYPE", "Choose another prefix", "DEL test::{g:/a}:h;SET test::{g:/a}:h x", "DEL test::{g:/a}:h")]
    [InlineData(
        "WRONGTYPE", "Choose another prefix", "DEL test::{g:/a}:i;SET test::{g:/a}:i x", "DEL test::{g:/a}:i")]
    [InlineData(
        "NOPERM", "to run scripts", "ACL SETUSER limited -evalsha -eval", "ACL SETUSER limited +evalsha +eval")]
    [InlineData(
        "NOPERM", "all keys", "ACL SETUSER limited resetkeys ~other:*", "ACL SETUSER limited ~test:*")]
    public async Task Publish_RefusedByRedis_ReportsFixAndLosesNoMessage(
        string code, string hint, string breakCommands, string fixCommands)
    {
        var directory = Directory.CreateTempSubdirectory("broadcast-refusal-").FullName;
        await Redis.StartAsync("--enable-protected-configs", "yes", "--save", "3600 1");
        await using var connection = await Redis.ConnectAsync();
        await ExecuteAsync(connection, "ACL SETUSER limited on >secret allkeys allchannels +@all");
        var publisher = StartNode(
            $"{Redis.Configuration},{LimitedUser}", options => options.PublishTimeout = TimeSpan.FromSeconds(15));
        var subscriber = StartNode();
        await subscriber.SubscribeAsync(Group);
        await TestNode.EventuallyAsync(
            async () => await TestNode.TryAsync(() => publisher.Backplane.CountMembersAsync(Group, Token).AsTask()),
            "The publisher is connected.");
        Assert.Equal(1, (await publisher.PublishAsync(Group, "1")).Offset);
        await subscriber.WaitForMessagesAsync(Group, 1);

        await ExecuteAsync(connection, breakCommands.Replace("DIRECTORY", directory, StringComparison.Ordinal));
        Directory.Delete(directory, recursive: true);
        if (code == "MISCONF") await WaitUntilSavesFailAsync(connection);
        var errors = await Task.WhenAll(Enumerable.Range(0, 3).Select(
            _ => Assert.ThrowsAsync<BackplaneException>(() => publisher.PublishAsync(Group, "failed"))));
        foreach (var error in errors)
        {
            Assert.Contains($"Redis refused the command: {code}", error.Message, StringComparison.Ordinal);
            Assert.Contains(hint, error.Message, StringComparison.Ordinal);
        }

        // A failed publish may still take effect. So wait until no batch is in flight. Then send a query, because
        // Redis processes the query after all earlier commands.
        await TestNode.EventuallyAsync(() => new(publisher.Outbox.IsIdle), "No batch is in flight.");
        await TestNode.TryAsync(() => publisher.Backplane.CountMembersAsync(Group, Token).AsTask());
        await ExecuteAsync(connection, fixCommands);
        await TestNode.EventuallyAsync(
            async () => await TestNode.TryAsync(() => publisher.PublishAsync(Group, "2")), "The node can publish.");
        await subscriber.WaitForMessagesAsync(Group, 2);
        Assert.Equal(["1", "2"], subscriber.GetReceivedTexts(Group));
        Assert.Equal(0, subscriber.GetLossCount(Group));
    }

    /// <summary>
    /// A Redis that cannot save its data also refuses PING. StackExchange.Redis sends a PING when it checks its servers. After the refusal,
    /// StackExchange.Redis closes the connection, and the waiting commands fail.
    /// </summary>
    [Fact]
    public async Task Publish_PingRefusedByRedis_ReportsFix()
    {
        var directory = Directory.CreateTempSubdirectory("broadcast-refusal-").FullName;
        await Redis.StartAsync("--enable-protected-configs", "yes", "--save", "3600 1");
        await using var connection = await Redis.ConnectAsync();
        var publisher = new TestNode(Nodes.Create(connection, options => options.PublishTimeout = TimeSpan.FromSeconds(2)));
        await publisher.PublishAsync(Group, "1");
        await ExecuteAsync(connection, $"CONFIG SET dir {directory}");
        Directory.Delete(directory, recursive: true);
        await WaitUntilSavesFailAsync(connection);

        var publish = Assert.ThrowsAsync<BackplaneException>(() => publisher.PublishAsync(Group, "failed"));
        while (!publish.IsCompleted) await Task.WhenAny(publish, connection.ConfigureAsync());

        var error = await publish;
        Assert.Contains("Redis refused the command: MISCONF", error.Message, StringComparison.Ordinal);
        Assert.Contains("See the log of Redis", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Subscribe_ChannelNotPermitted_FailsUntilChannelIsPermitted()
    {
        await Redis.StartAsync();
        await using var connection = await Redis.ConnectAsync();
        await ExecuteAsync(connection, "ACL SETUSER limited on >secret ~test:* resetchannels +@all");
        var node = StartNode(
            $"{Redis.Configuration},{LimitedUser}", options => options.PublishTimeout = TimeSpan.FromSeconds(1));
        await TestNode.WaitForErrorAsync(() => node.SubscribeAsync(Group), "channels that begin with the prefix");
        await ExecuteAsync(connection, "ACL SETUSER limited &test:*");
        await TestNode.EventuallyAsync(
            async () => await TestNode.TryAsync(() => node.SubscribeAsync(Group)), "The node can subscribe.");
        await node.PublishAsync(Group, "hello");
        await node.WaitForMessagesAsync(Group, 1);
    }

    [Fact]
    public async Task Publish_WrongPassword_ErrorNamesLoginButNotPassword()
    {
        await Redis.StartAsync("--requirepass", "right");
        var node = StartNode(
            $"{Redis.Configuration},password=secret-7391", options => options.PublishTimeout = TimeSpan.FromSeconds(1));
        await TestNode.WaitForErrorAsync(
            () => node.PublishAsync(Group, ""),
            "Check the user and the password",
            static error => Assert.DoesNotContain("secret-7391", error.ToString(), StringComparison.Ordinal),
            TestNode.Patience * 2);
    }

    /// <summary>
    /// After a lost connection, StackExchange.Redis keeps only the first failure in its exceptions. Here, the first failure
    /// is the closed connection, not the rejected login.
    /// </summary>
    [Fact]
    public async Task Publish_PasswordChangedWhileConnected_ErrorNamesLogin()
    {
        await Redis.StartAsync();
        await using var admin = await Redis.ConnectAsync();
        var node = StartNode(configure: options => options.PublishTimeout = TimeSpan.FromSeconds(2));
        await TestNode.EventuallyAsync(
            async () => await TestNode.TryAsync(() => node.PublishAsync(Group, "1")), "The node can publish.");

        await ExecuteAsync(admin, "CONFIG SET requirepass other;CLIENT KILL TYPE normal SKIPME yes");

        await TestNode.WaitForErrorAsync(() => node.PublishAsync(Group, "2"), "Check the user and the password");
    }

    [Fact]
    public void Describe_LoginRejectedByOneOfSeveralServers_NamesLogin()
    {
        var error = CreateError(new AggregateException(
            CreateFailure("a:6379", ConnectionFailureType.SocketClosed),
            CreateFailure("b:6379", ConnectionFailureType.AuthenticationFailure)));

        Assert.Contains("Check the user and the password", RedisErrors.Describe(error), StringComparison.Ordinal);
    }

    [Fact]
    public void FindNewest_SeveralServers_ReturnsFailureOfNamedServers()
    {
        var failures = new ConnectionFailures(NullLoggerFactory.Instance);
        var logger = failures.CreateLogger("StackExchange.Redis");
        var closedA = CreateFailure("a:6379", ConnectionFailureType.SocketClosed);
        var closedB = CreateFailure("b:6379", ConnectionFailureType.SocketClosed);
        var rejectedA = CreateFailure("a:6379", ConnectionFailureType.AuthenticationFailure);
        var summary = CreateFailure(null, ConnectionFailureType.AuthenticationFailure);
        var (a, b) = (CreateError(closedA), CreateError(closedB));
        Assert.Null(failures.FindNewest(a));

        foreach (var failure in new[] { closedA, rejectedA, closedB, summary })
            logger.LogError(failure, "The connection failed.");

        Assert.Same(rejectedA, failures.FindNewest(a));
        Assert.Same(closedB, failures.FindNewest(b));
        Assert.Same(rejectedA, failures.FindNewest(CreateError(new AggregateException(closedB, closedA))));
        Assert.Null(failures.FindNewest(CreateError(summary)));
    }

    static RedisConnectionException CreateError(Exception inner) => new(
        ConnectionFailureType.UnableToResolvePhysicalConnection, CommandFlags.None, "no connection", inner);

    static RedisConnectionException CreateFailure(string? address, ConnectionFailureType type) =>
        new(type, CommandFlags.None, "failed") { Data = { ["Redis-EndPoint"] = address } };

    static Task WaitUntilSavesFailAsync(ConnectionMultiplexer connection) => TestNode.EventuallyAsync(
        async () =>
        {
            await TestNode.TryAsync(() => ExecuteAsync(connection, "BGSAVE"));
            var info = await connection.GetServers()[0].InfoRawAsync("persistence");
            return info!.Contains("rdb_last_bgsave_status:err", StringComparison.Ordinal);
        },
        "Redis cannot save its data.");

    static async Task ExecuteAsync(ConnectionMultiplexer connection, string commands)
    {
        foreach (var command in commands.Split(';'))
        {
            var words = command.Split(' ');
            await connection.GetServers()[0].ExecuteAsync(words[0], [.. words[1..]]);
        }
    }
}
