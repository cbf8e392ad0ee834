using Broadcast.Middleware.Contracts;

namespace Broadcast.Middleware.Redis.Tests;

/// <summary>A server of its own, nodes on it, and what they hear.</summary>
public abstract class FaultTest : IAsyncLifetime
{
    protected const string Group = "/a";
    protected static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);

    readonly List<Line> _lines = [];

    private protected Nodes Nodes { get; } = new();

    private protected RedisServer Redis { get; private set; } = null!;

    protected static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <summary>Whether it is there from the beginning.</summary>
    protected virtual bool IsThere => true;

    public async ValueTask InitializeAsync()
    {
        Redis = RedisServer.Absent();
        if (IsThere) await Redis.StartAgainAsync();
    }

    public async ValueTask DisposeAsync()
    {
        GC.SuppressFinalize(this);
        await Nodes.DisposeAsync();
        foreach (var line in _lines) await line.DisposeAsync();
        await Redis.DisposeAsync();
    }

    private protected Line Line()
    {
        var line = new Line(Redis.Port);
        _lines.Add(line);
        return line;
    }

    private protected async Task<Listener> NodeAsync(string? configuration = null, Action<RedisBackplaneOptions>? configure = null)
    {
        var node = new Listener(await Nodes.CreateAsync(configuration ?? Redis.Configuration, configure ?? (_ => { })), Patience);
        node.Backplane.Start(node);
        return node;
    }

    protected static Task EventuallyAsync(Func<ValueTask<bool>> condition, string what, TimeSpan? within = null) => Listener.EventuallyAsync(condition, within ?? Patience, what);

    private protected static string[] Texts(Listener node, string group = Group) => [.. node.Heard(group).Select(heard => heard.Text)];
}
