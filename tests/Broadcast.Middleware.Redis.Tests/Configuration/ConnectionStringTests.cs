using System.Net;
using Broadcast.Middleware.Redis.Configuration;
using Broadcast.Middleware.Redis.Tests.Infrastructure;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Redis.Tests.Configuration;

/// <summary>
/// Tests connection strings and their passwords. The passwords contain the text "s3cret" or a part of this text.
/// </summary>
public sealed class ConnectionStringTests : RedisTest
{
    const string Secret = "s3cret";

    readonly LogRecorder _log = new();

    protected override bool StartsRedis => false;

    [Theory]
    [InlineData("redis://host", "host:6379", null, null, false, null)]
    [InlineData("redis://:s3cret@host:7000", "host:7000", null, "s3cret", false, null)]
    [InlineData("REDISS://ann:s3cret%2C%23%40@host:7000/2", "host:7000", "ann", "s3cret,#@", true, 2)]
    [InlineData("rediss://ann:s3cret@[::1]/", "[::1]:6379", "ann", "s3cret", true, null)]
    [InlineData("host:7000,user=ann,password=s3cret,ssl=true", "host:7000", "ann", "s3cret", true, null)]
    public void Parse_ValidText_ReadsAllParts(
        string text, string endPoint, string? user, string? password, bool usesTls, int? database)
    {
        var options = ConnectionString.Parse(text);
        var expected = IPEndPoint.TryParse(endPoint, out var address) && endPoint[0] == '['
            ? (EndPoint)address
            : new DnsEndPoint(endPoint.Split(':')[0], int.Parse(endPoint.Split(':')[1]));
        Assert.Equal(expected, Assert.Single(options.EndPoints));
        Assert.Equal(
            (user, password, usesTls, database), (options.User, options.Password, options.Ssl, options.DefaultDatabase));
        Assert.Equal((1500, 4), (options.SyncTimeout, options.KeepAlive));
    }

    [Theory]
    [InlineData("", "names no server")]
    [InlineData("password=s3cret", "names no server")]
    [InlineData("host,password=a,s3cret", "comma")]
    [InlineData("host,password=a,s3cret=b", "comma")]
    [InlineData("host,password = a,s3cret", "comma")]
    [InlineData("host, PASSWORD\t=a , s3cret", "comma")]
    [InlineData("host,ssl=s3cret", "Check each setting")]
    [InlineData("valkey://:s3cret@host", "scheme")]
    [InlineData("redis://s3cret@host", "no password")]
    [InlineData("redis://:s3#cret@host", "invalid")]
    [InlineData("redis://:s3cret@host?password=s3cret", "query")]
    [InlineData("redis://:s3cret@host/s3cret", "database number")]
    public void Parse_InvalidText_ErrorNamesProblemWithoutPassword(string text, string hint)
    {
        var error = Assert.Throws<FormatException>(() => ConnectionString.Parse(text));
        Assert.Contains(hint, error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("s3", error.ToString(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(Secret)]
    [InlineData("wrong-" + Secret)]
    public async Task Url_WithRightOrWrongPassword_LogsNoPassword(string password)
    {
        await Redis.StartAsync("--requirepass", Secret);
        var node = _log.StartNode(
            Nodes, $"redis://:{password}@{Redis.Configuration}/3",
            options => options.PublishTimeout = TimeSpan.FromSeconds(password == Secret ? 20 : 1));
        if (password == Secret)
        {
            await node.SubscribeAsync(Group);
            await node.PublishAsync(Group, "hello");
            await node.WaitForMessagesAsync(Group, 1);
        }
        else
        {
            var error = await Assert.ThrowsAsync<BackplaneException>(() => node.PublishAsync(Group, ""));
            Assert.DoesNotContain(Secret, error.ToString(), StringComparison.Ordinal);
        }

        await Redis.KillAsync();
        await TestNode.EventuallyAsync(() => new(_log.Warnings.Length > 0), "The node logs that Redis is unreachable.");
        AssertLogHasNoSecret();
    }

    [Fact]
    public async Task Password_RepeatedInAuthError_IsNotLogged()
    {
        // A proxy that does not know AUTH repeats the arguments of AUTH in its error.
        await Redis.StartAsync("--rename-command", "AUTH", "NO-AUTH", "--rename-command", "HELLO", "NO-HELLO");
        var node = _log.StartNode(
            Nodes, $"{Redis.Configuration},password={Secret}",
            options => options.PublishTimeout = TestNode.Patience);
        // The server answers the login before it answers the publish.
        await node.PublishAsync(Group, "");
        AssertLogHasNoSecret();
    }

    [Fact]
    public async Task Password_RepeatedInUnknownCommandError_IsNotLogged()
    {
        // In its error for an unknown command, Redis repeats the arguments. The arguments contain the password, because
        // the prefix of the keys equals the password.
        await Redis.StartAsync(
            "--requirepass", Secret, "--rename-command", "SET", "NO-SET", "--rename-command", "SETEX", "NO-SETEX");
        _log.StartNode(Nodes, $"{Redis.Configuration},password={Secret}", options => options.Prefix = Secret);
        await TestNode.EventuallyAsync(
            () => new(_log.Warnings.Any(message => message.Contains("unknown command", StringComparison.Ordinal))),
            "The node logs the error.");
        Assert.Contains(_log.Warnings, message => message.Contains("beginning with: '***:", StringComparison.Ordinal));
        AssertLogHasNoSecret();
    }

    [Fact]
    public async Task OwnConnection_ErrorWithUrl_IsLoggedWithoutPassword()
    {
        _log.StartNode(Nodes, static builder => builder.AddRedis(
            static _ => throw new InvalidOperationException($"Cannot connect to redis://:{Secret}@host:6379."),
            static options => options.Prefix = "test"));
        await TestNode.EventuallyAsync(() => new(_log.Warnings.Length > 0), "The node logs the error.");
        Assert.Contains("Cannot connect to redis://***@host:6379.", _log.Warnings[0], StringComparison.Ordinal);
        Assert.DoesNotContain(Secret, _log.GetEverything(), StringComparison.Ordinal);
    }

    void AssertLogHasNoSecret()
    {
        var everything = _log.GetEverything();
        Assert.Contains("Connecting", everything, StringComparison.Ordinal);
        Assert.DoesNotContain(Secret, everything, StringComparison.Ordinal);
    }
}
