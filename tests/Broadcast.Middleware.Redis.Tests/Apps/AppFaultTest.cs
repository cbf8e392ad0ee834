using System.Diagnostics;
using Broadcast.Middleware.Contracts;

namespace Broadcast.Middleware.Redis.Tests.Apps;

/// <summary>
/// Three apps, each with lines of its own to Redis and two subscribers; 8 publishers, who publish all the time while something happens to Redis.
/// </summary>
public abstract class AppFaultTest : IAsyncLifetime
{
    const int NodeCount = 3, PublisherCount = 8;

    /// <summary>Of each publisher, where a test has one fault; BROADCAST_TEST_EFFORT=10 makes it 50,000.</summary>
    protected static readonly int Some = 5_000 * (int.TryParse(Environment.GetEnvironmentVariable("BROADCAST_TEST_EFFORT"), out var factor) && factor > 0 ? factor : 1);

    /// <summary>For a process that is killed; not for a machine.</summary>
    protected static readonly string[] KeepsAll = ["--appendonly", "yes", "--appendfsync", "no", "--auto-aof-rewrite-percentage", "0"];

    static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    readonly List<AppNode> _nodes = [];
    readonly List<Line[]> _lines = [];
    readonly List<RedisServer> _servers = [];
    readonly List<Publisher> _publishers = [];
    readonly List<Publisher> _probes = [];
    readonly List<Subscriber> _subscribers = [];
    readonly List<Subscriber> _latecomers = [];
    readonly List<string> _figures = [];
    Task[] _publishing = [];
    bool _forgets;

    /// <summary>The one that takes what is published; a replica, if there is one, comes after it.</summary>
    private protected RedisServer Redis => _servers[0];

    private protected RedisServer Replica => _servers[1];

    protected static CancellationToken Token => TestContext.Current.CancellationToken;

    public virtual ValueTask InitializeAsync() => default;

    public async ValueTask DisposeAsync()
    {
        GC.SuppressFinalize(this);
        try
        {
            // Throws what went wrong there.
            foreach (var subscriber in _subscribers.Concat(_latecomers)) await subscriber.DisposeAsync();
        }
        finally
        {
            foreach (var node in _nodes) await node.DisposeAsync();
            foreach (var line in _lines.SelectMany(static lines => lines)) await line.DisposeAsync();
            foreach (var server in _servers) await server.DisposeAsync();
        }
    }

    private protected static async Task<RedisServer> ReplicaOfAsync(int port)
    {
        var replica = await RedisServer.StartAsync("--replicaof", "127.0.0.1", $"{port}", "--repl-diskless-sync-delay", "0");
        await using var connection = await replica.ConnectAsync();
        await Listener.EventuallyAsync(
            async () => (await connection.GetServers()[0].ExecuteAsync("INFO", "replication")).ToString().Contains("master_link_status:up", StringComparison.Ordinal),
            Patience, "The replica has what there is.");
        return replica;
    }

    /// <param name="servers">The servers, of which the first takes what is published.</param>
    private protected Task BeginAsync(params RedisServer[] servers) => BeginAsync(static _ => { }, servers);

    private protected async Task BeginAsync(Action<RedisBackplaneOptions> configure, params RedisServer[] servers)
    {
        _servers.AddRange(servers);
        for (var i = 0; i < NodeCount; i++)
        {
            _lines.Add([.. servers.Select(static server => new Line(server.Port))]);
            _nodes.Add(await AppNode.StartAsync(string.Join(',', [.. _lines[i].Select(static line => line.Configuration), "configCheckSeconds=1"]), options =>
            {
                (options.RepairMessages, options.RepairBytes) = (100_000, 64 * 1024 * 1024);
                configure(options);
            }));
        }

        for (var i = 0; i < PublisherCount; i++) _publishers.Add(new(_nodes[i % NodeCount].Broadcaster, i, AppNode.Group));
        for (var i = 0; i < NodeCount; i++) _probes.Add(new(_nodes[i].Broadcaster, PublisherCount + i, AppNode.Group));
        for (var i = 0; i < 2 * NodeCount; i++) _subscribers.Add(new(_nodes[i % NodeCount]));
        await EventuallyAsync(() => _subscribers.All(static subscriber => subscriber.IsListening), "Everybody listens.");
    }

    /// <summary>
    /// Everybody publishes. When a third of it is out, it happens; the last third comes when it is over, and fails nowhere. In the end every subscriber
    /// has everything, or was told, and who comes back with a position gets exactly what follows it.
    /// </summary>
    /// <param name="what">For the figures.</param>
    /// <param name="messages">Of each publisher.</param>
    /// <param name="happens">What does.</param>
    /// <param name="told">Which of the subscribers are told that messages may be missing.</param>
    private protected async Task PublishWhileAsync(string what, int messages, Func<Task> happens, Told told)
    {
        var began = Stopwatch.GetTimestamp();
        var before = _subscribers.Select(static subscriber => subscriber.Told).ToArray();
        var (published, third) = (0, messages / 3);
        var underWay = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        _publishing = [.. _publishers.Select(publisher => Task.Run(() => publisher.PublishAsync(2 * third, () =>
        {
            if (Interlocked.Increment(ref published) == PublisherCount * third) underWay.SetResult();
        })))];
        await Task.WhenAny(underWay.Task, Task.WhenAll(_publishing));
        await happens();
        await Task.WhenAll(_publishing);
        var failed = Failed();
        // The nodes find back each in its own time.
        foreach (var probe in _probes) await probe.ProbeAsync(Patience);
        var backAfter = Stopwatch.GetElapsedTime(began);
        await Task.WhenAll(_publishers.Select(publisher => Task.Run(() => publisher.PublishAsync(messages - 2 * third))));
        Assert.Equal(failed, Failed());

        var last = await EverybodyHasAsync(what);
        var wereTold = _subscribers.Select((subscriber, i) => subscriber.Told > before[i]).ToArray();
        for (var i = 0; i < wereTold.Length; i++)
        {
            if (told is Told.All or Told.Nobody) Assert.Equal((what, i, told == Told.All), (what, i, wereTold[i]));
            else if (told == Told.OfFirstNode) Assert.Equal((what, i, i % NodeCount == 0), (what, i, wereTold[i]));
            else Assert.Equal((what, i, wereTold[0]), (what, i, wereTold[i]));
        }

        _forgets |= told == Told.AllOrNobody;
        await ComeBackAsync(last.Message, last.Position);
        _figures.Add($"{what}: {PublisherCount * messages} published in {Stopwatch.GetElapsedTime(began).TotalSeconds:F1} s, back after {backAfter.TotalSeconds:F1} s, {failed} failed so far, {wereTold.Count(static was => was)} of {wereTold.Length} told");

        int Failed() => _publishers.Sum(static publisher => publisher.Failed);
    }

    /// <summary>For a fault in which Redis forgets what it had, and takes new messages in its place before anybody notices.</summary>
    protected void RedisForgets() => _forgets = true;

    protected async Task EndAsync()
    {
        foreach (var subscriber in _subscribers.Concat(_latecomers)) await subscriber.DisposeAsync();
        Publisher[] publishers = [.. _publishers, .. _probes];
        var (inOrder, twice) = Oracle.Check(publishers, _subscribers, _latecomers, _forgets);
        // Only what was under way when the state was lost.
        Assert.InRange(twice, 0, _subscribers.Max(static subscriber => subscriber.Told) * publishers.Length * Publisher.Window);
        var told = publishers.Sum(static publisher => publisher.Told.Length - publisher.Failed);
        _figures.Add($"{told} taken, {publishers.Sum(static publisher => publisher.Failed)} failed; {inOrder} heard, {twice} of them in two epochs; " +
            $"told {string.Join(' ', _subscribers.Select(static subscriber => subscriber.Told))} times, refused {string.Join(' ', _subscribers.Select(static subscriber => subscriber.Refused))} times");
        foreach (var line in _figures) TestContext.Current.TestOutputHelper?.WriteLine(line);
    }

    /// <summary>All that the other nodes publish before the fault is over.</summary>
    private protected Task OthersHavePublishedAsync() => Task.WhenAll(_publishing.Where(static (_, i) => i % NodeCount != 0));

    /// <summary>Redis is away, and publishers wait for it.</summary>
    private protected Task SomethingWaitsAsync() =>
        EventuallyAsync(() => _publishers.All(static publisher => publisher.Waiting > 0) || _publishing.All(static task => task.IsCompleted), "Everybody waits.");

    /// <summary>While Redis is away, nobody is sent away.</summary>
    protected void EverybodyListens() => Assert.All(_subscribers, static subscriber => Assert.True(subscriber.IsListening));

    private protected async Task KillAsync()
    {
        await Redis.KillAsync();
        await SomethingWaitsAsync();
        EverybodyListens();
        await Redis.StartAgainAsync();
    }

    private protected async Task RestartEmptyAsync()
    {
        await Redis.KillAsync();
        await SomethingWaitsAsync();
        EverybodyListens();
        Redis.Forget();
        await Redis.StartAgainAsync();
    }

    private protected async Task StopAsync()
    {
        await Redis.StopAsync();
        await Task.Delay(TimeSpan.FromSeconds(30), Token);
        EverybodyListens();
        await Redis.GoOnAsync();
    }

    /// <summary>The first node.</summary>
    private protected async Task CutOffAsync()
    {
        foreach (var line in _lines[0]) line.Close();
        await OthersHavePublishedAsync();
        EverybodyListens();
        foreach (var line in _lines[0]) line.Open();
    }

    private protected async Task FailOverAsync()
    {
        await Redis.KillAsync();
        await SomethingWaitsAsync();
        EverybodyListens();
        await using var connection = await Replica.ConnectAsync();
        await connection.GetServers()[0].ExecuteAsync("REPLICAOF", "NO", "ONE");
    }

    /// <summary>Who comes with a position, to whichever node, gets exactly what follows it.</summary>
    async Task ComeBackAsync(MessageId message, Position last)
    {
        var from = last with { Offset = Math.Max(0, last.Offset - 1000) };
        var latecomers = _nodes.Select(node => new Subscriber(node, from)).ToArray();
        _latecomers.AddRange(latecomers);
        await EventuallyAsync(() => latecomers.All(latecomer => latecomer.HasHeard(message, last)), "Who comes back has everything.");
        foreach (var latecomer in latecomers)
        {
            Assert.Equal((true, from), (latecomer.Stretches[0].Recovered, latecomer.Stretches[0].Start));
            await latecomer.DisposeAsync();
        }
    }

    /// <summary>A message that all have, and with it everything before. One that was published before a loss was noticed reaches nobody: then it is the next.</summary>
    async Task<(MessageId Message, Position Position)> EverybodyHasAsync(string what)
    {
        var (started, probed) = (TimeProvider.System.GetTimestamp(), new List<(MessageId Message, Position Position)>());
        while (true)
        {
            var asked = TimeProvider.System.GetTimestamp();
            probed.Add(await _probes[0].ProbeAsync(Patience));
            while (TimeProvider.System.GetElapsedTime(asked) < TimeSpan.FromSeconds(2))
            {
                foreach (var probe in probed)
                {
                    if (_subscribers.All(subscriber => subscriber.Has(probe.Message, probe.Position))) return probe;
                }

                await Task.Delay(5, Token);
            }

            Assert.True(TimeProvider.System.GetElapsedTime(started) < Patience, $"{what}: within {Patience} not everybody has one of {string.Join(", ", probed)}: {string.Join("; ", _subscribers)}");
        }
    }

    static Task EventuallyAsync(Func<bool> condition, string what) => Listener.EventuallyAsync(() => new(condition()), Patience, what);

    /// <summary>Who is told that messages may be missing.</summary>
    private protected enum Told
    {
        Nobody,
        All,

        /// <summary>Whether Redis has lost anything is a matter of moments; but everybody is told, or nobody.</summary>
        AllOrNobody,
        OfFirstNode,
    }
}
