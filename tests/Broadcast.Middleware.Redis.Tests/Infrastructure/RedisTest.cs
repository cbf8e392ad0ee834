using Broadcast.Middleware.Redis.Storage;

namespace Broadcast.Middleware.Redis.Tests.Infrastructure;

/// <summary>The base class of tests that stop or disturb Redis. Each test has its own server and nodes.</summary>
public abstract class RedisTest : IAsyncLifetime
{
    protected const string Group = "/a";

    readonly List<RedisProxy> _proxies = [];

    protected static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <summary>The keys of <see cref="Group"/>.</summary>
    private protected static GroupKeys Keys { get; } = new KeySpace("test", "", 0, []).ForGroup(Group);

    private protected NodeFactory Nodes { get; } = new();

    private protected RedisServer Redis { get; private set; } = null!;

    /// <summary>False if the test starts Redis itself.</summary>
    protected virtual bool StartsRedis => true;

    public async ValueTask InitializeAsync()
    {
        Redis = RedisServer.Create();
        if (StartsRedis) await Redis.StartAsync();
    }

    public virtual async ValueTask DisposeAsync()
    {
        GC.SuppressFinalize(this);
        await Nodes.DisposeAsync();
        foreach (var proxy in _proxies) await proxy.DisposeAsync();
        await Redis.DisposeAsync();
    }

    private protected RedisProxy CreateProxy()
    {
        var proxy = new RedisProxy(Redis.Port);
        _proxies.Add(proxy);
        return proxy;
    }

    /// <summary>Starts a node. By default, the node uses the server of the test.</summary>
    private protected TestNode StartNode(
        string? configuration = null, Action<RedisBackplaneOptions>? configure = null) =>
        new(Nodes.Create(configuration ?? Redis.Configuration, configure));

    /// <summary>Starts a node that subscribes to <see cref="Group"/>, publishes "1" and receives this message.</summary>
    /// <returns>The node, and the position at which the subscription starts.</returns>
    private protected async Task<(TestNode Node, Position Start)> StartNodeWithMessageAsync()
    {
        var node = StartNode();
        var subscription = await node.SubscribeAsync(Group);
        await node.PublishAsync(Group, "1");
        await node.WaitForMessagesAsync(Group, 1);
        return (node, subscription.Position);
    }
}
