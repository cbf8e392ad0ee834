using System.Diagnostics;
using Broadcast.Middleware.Redis.Tests.Infrastructure;

namespace Broadcast.Middleware.Redis.Tests.Faults;

/// <summary>
/// The base class of tests with three apps. Each app has its own proxies to Redis and two subscribers. Eight publishers
/// publish during a fault.
/// </summary>
public abstract class FaultTest : IAsyncLifetime
{
    const int NodeCount = 3, PublisherCount = 8;

    /// <summary>
    /// The number of messages of each publisher. With BROADCAST_TEST_EFFORT=10, the number is 50,000.
    /// </summary>
    protected static readonly int MessagesPerPublisher = 5_000 * Effort.Factor;

    /// <summary>
    /// Arguments that let Redis keep all data when its process is killed, but not after a power failure.
    /// </summary>
    protected static readonly string[] PersistentArguments =
        ["--appendonly", "yes", "--appendfsync", "no", "--auto-aof-rewrite-percentage", "0"];

    static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    readonly List<AppNode> _nodes = [];
    readonly List<RedisProxy[]> _proxies = [];
    readonly List<RedisServer> _servers = [];
    readonly List<Publisher> _publishers = [];
    readonly List<Publisher> _probes = [];
    readonly List<Subscriber> _subscribers = [];
    readonly List<Subscriber> _temporarySubscribers = [];
    readonly List<string> _figures = [];
    Task[] _publishing = [];
    bool _redisForgets;

    protected static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <summary>The first server, which is the master in tests with a replica.</summary>
    private protected RedisServer Redis => _servers[0];

    private protected RedisServer Replica => _servers[1];

    public virtual ValueTask InitializeAsync() => default;

    public async ValueTask DisposeAsync()
    {
        GC.SuppressFinalize(this);
        try
        {
            // Throws the exception of a failed subscriber.
            foreach (var subscriber in _subscribers.Concat(_temporarySubscribers)) await subscriber.DisposeAsync();
        }
        finally
        {
            foreach (var node in _nodes) await node.DisposeAsync();
            foreach (var proxy in _proxies.SelectMany(static proxies => proxies)) await proxy.DisposeAsync();
            foreach (var server in _servers) await server.DisposeAsync();
        }
    }

    private protected static async Task<RedisServer> StartReplicaAsync(int masterPort)
    {
        var replica = await RedisServer.StartNewAsync(
            "--replicaof", "127.0.0.1", $"{masterPort}", "--repl-diskless-sync-delay", "0");
        await using var connection = await replica.ConnectAsync();
        await TestNode.EventuallyAsync(
            async () =>
            {
                var info = await connection.GetServers()[0].ExecuteAsync("INFO", "replication");
                return info.ToString().Contains("master_link_status:up", StringComparison.Ordinal);
            },
            "The replica is in sync.", Patience);
        return replica;
    }

    /// <summary>Starts the apps, publishers and subscribers.</summary>
    private protected Task StartAsync(params RedisServer[] servers) => StartAsync(static _ => { }, servers);

    /// <param name="configure">Configures the backplanes.</param>
    /// <param name="servers">The servers. The first server is the master.</param>
    private protected async Task StartAsync(Action<RedisBackplaneOptions> configure, params RedisServer[] servers)
    {
        _servers.AddRange(servers);
        for (var i = 0; i < NodeCount; i++)
        {
            _proxies.Add([.. servers.Select(static server => new RedisProxy(server.Port))]);
            string[] settings = [.. _proxies[i].Select(static proxy => proxy.Configuration), "configCheckSeconds=1"];
            _nodes.Add(await AppNode.StartAsync(string.Join(',', settings), options =>
            {
                (options.RepairMessages, options.RepairBytes) = (100_000, 64 * 1024 * 1024);
                // On a busy machine, a publish can take longer than the default PublishTimeout of 5 seconds.
                options.PublishTimeout = TimeSpan.FromSeconds(10);
                configure(options);
            }));
        }

        for (var i = 0; i < PublisherCount; i++)
            _publishers.Add(new(_nodes[i % NodeCount].Broadcaster, i, AppNode.Group));
        for (var i = 0; i < NodeCount; i++)
            _probes.Add(new(_nodes[i].Broadcaster, PublisherCount + i, AppNode.Group));
        for (var i = 0; i < 2 * NodeCount; i++) _subscribers.Add(new(_nodes[i % NodeCount]));
        await EventuallyAsync(
            () => _subscribers.All(static subscriber => subscriber.IsListening), "All subscribers listen.");
    }

    /// <summary>
    /// Publishes the first third of the messages. Causes the fault while the publishers publish the second third.
    /// Publishing the last third after the fault must succeed. The method then checks that all subscribers continue, and that
    /// exactly the expected subscribers were notified. Also checks that a client with a position receives exactly the
    /// messages after its position.
    /// </summary>
    /// <param name="name">The name of the fault.</param>
    /// <param name="messages">The number of messages of each publisher.</param>
    /// <param name="causeFault">Causes the fault and then ends the fault.</param>
    /// <param name="notified">The subscribers that are notified of a loss.</param>
    private protected async Task PublishDuringFaultAsync(
        string name, int messages, Func<Task> causeFault, Notified notified)
    {
        var started = Stopwatch.GetTimestamp();
        var lossesBefore = _subscribers.Select(static subscriber => subscriber.LossCount).ToArray();
        var (published, third) = (0, messages / 3);
        var firstThird = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        _publishing = [.. _publishers.Select(publisher => Task.Run(() => publisher.PublishAsync(2 * third, () =>
        {
            if (Interlocked.Increment(ref published) == PublisherCount * third) firstThird.SetResult();
        })))];
        await Task.WhenAny(firstThird.Task, Task.WhenAll(_publishing));
        await causeFault();
        await Task.WhenAll(_publishing);
        var failedBefore = CountFailed();
        // The nodes reconnect at different times.
        foreach (var probe in _probes) await probe.PublishUntilSuccessAsync(Patience);
        var recoveredAfter = Stopwatch.GetElapsedTime(started);
        await Task.WhenAll(_publishers.Select(
            publisher => Task.Run(() => publisher.PublishAsync(messages - 2 * third))));
        Assert.Equal(failedBefore, CountFailed());

        var last = await WaitForCommonMessageAsync(name);
        bool[] wasNotified = [.. _subscribers.Select((subscriber, i) => subscriber.LossCount > lossesBefore[i])];
        for (var i = 0; i < wasNotified.Length; i++)
        {
            var expected = notified switch
            {
                Notified.None => false,
                Notified.All => true,
                Notified.FirstNode => i % NodeCount == 0,
                _ => wasNotified[0],
            };
            Assert.Equal((name, i, expected), (name, i, wasNotified[i]));
        }

        _redisForgets |= notified == Notified.AllOrNone;
        await CheckRecoveryByPositionAsync(last.Message, last.Position);
        _figures.Add(
            $"{name}: {PublisherCount * messages} messages in {Stopwatch.GetElapsedTime(started).TotalSeconds:F1} s, " +
            $"recovered after {recoveredAfter.TotalSeconds:F1} s, {failedBefore} failed so far, " +
            $"{wasNotified.Count(static value => value)} of {wasNotified.Length} notified");

        int CountFailed() => _publishers.Sum(static publisher => publisher.FailedCount);
    }

    /// <summary>
    /// Declares that Redis may give the offsets of forgotten messages to new messages after the fault.
    /// </summary>
    protected void ExpectForgottenMessages() => _redisForgets = true;

    /// <summary>Stops the subscribers and checks all messages of the test.</summary>
    protected async Task FinishAsync()
    {
        foreach (var subscriber in _subscribers.Concat(_temporarySubscribers)) await subscriber.DisposeAsync();
        Publisher[] publishers = [.. _publishers, .. _probes];
        var (total, inTwoEpochs) = new DeliveryChecker(_redisForgets).Check(
            publishers, _subscribers, _temporarySubscribers);
        // A message can exist in two epochs only if it was in flight during a loss.
        var maxLosses = _subscribers.Max(static subscriber => subscriber.LossCount);
        Assert.InRange(inTwoEpochs, 0, maxLosses * publishers.Length * Publisher.Window);
        var failed = publishers.Sum(static publisher => publisher.FailedCount);
        var succeeded = publishers.Sum(static publisher => publisher.Positions.Length) - failed;
        _figures.Add(
            $"{succeeded} published, {failed} failed; {total} received, {inTwoEpochs} of them in two epochs; " +
            $"losses {string.Join(' ', _subscribers.Select(static subscriber => subscriber.LossCount))}, " +
            $"rejected {string.Join(' ', _subscribers.Select(static subscriber => subscriber.RejectedCount))}");
        foreach (var figure in _figures) TestContext.Current.TestOutputHelper?.WriteLine(figure);
    }

    /// <summary>Waits until the publishers of all nodes except the first node have finished.</summary>
    private protected Task WaitForOtherPublishersAsync() =>
        Task.WhenAll(_publishing.Where(static (_, i) => i % NodeCount != 0));

    private protected async Task KillAndRestartAsync()
    {
        await Redis.KillAsync();
        await WaitForBlockedPublishersAsync();
        AssertAllListening();
        await Redis.StartAsync();
    }

    private protected async Task RestartEmptyAsync()
    {
        await Redis.KillAsync();
        await WaitForBlockedPublishersAsync();
        AssertAllListening();
        Redis.DeleteData();
        await Redis.StartAsync();
    }

    private protected async Task SuspendAsync(TimeSpan duration)
    {
        await Redis.SuspendAsync();
        await Task.Delay(duration, Token);
        AssertAllListening();
        await Redis.ResumeAsync();
    }

    private protected async Task DisconnectFirstNodeAsync()
    {
        foreach (var proxy in _proxies[0]) proxy.Close();
        await WaitForOtherPublishersAsync();
        AssertAllListening();
        foreach (var proxy in _proxies[0]) proxy.Open();
    }

    private protected async Task FailOverAsync()
    {
        await Redis.KillAsync();
        await WaitForBlockedPublishersAsync();
        AssertAllListening();
        await using var connection = await Replica.ConnectAsync();
        await connection.GetServers()[0].ExecuteAsync("REPLICAOF", "NO", "ONE");
    }

    /// <summary>Asserts that no client was disconnected while Redis was unreachable.</summary>
    void AssertAllListening() =>
        Assert.All(_subscribers, static subscriber => Assert.True(subscriber.IsListening));

    Task WaitForBlockedPublishersAsync() => EventuallyAsync(
        () => _publishers.Zip(_publishing).All(
            static item => item.First.InFlight > 0 || item.Second.IsCompleted),
        "Each publisher waits for Redis or has finished.");

    /// <summary>
    /// Asserts that a client with a position receives exactly the messages after its position, on each node.
    /// </summary>
    async Task CheckRecoveryByPositionAsync(MessageId message, Position last)
    {
        var from = new Position(last.Epoch, Math.Max(0, last.Offset - 1000));
        var subscribers = _nodes.Select(node => new Subscriber(node, from)).ToArray();
        _temporarySubscribers.AddRange(subscribers);
        await EventuallyAsync(
            () => subscribers.All(subscriber => subscriber.HasReceived(message, last)),
            "The clients with a position receive the last message.");
        foreach (var subscriber in subscribers)
        {
            var first = subscriber.Sequences[0];
            Assert.Equal((true, from), (first.Recovered, first.Start));
            await subscriber.DisposeAsync();
        }
    }

    /// <summary>
    /// Returns a message that all subscribers have received. A message may reach no subscriber if the publishing node
    /// has not noticed a loss yet. So the method publishes several messages.
    /// </summary>
    async Task<(MessageId Message, Position Position)> WaitForCommonMessageAsync(string name)
    {
        var started = TimeProvider.System.GetTimestamp();
        var published = new List<(MessageId Message, Position Position)>();
        while (true)
        {
            var publishedAt = TimeProvider.System.GetTimestamp();
            published.Add(await _probes[0].PublishUntilSuccessAsync(Patience));
            while (TimeProvider.System.GetElapsedTime(publishedAt) < TimeSpan.FromSeconds(2))
            {
                foreach (var probe in published)
                {
                    if (_subscribers.All(subscriber =>
                        subscriber.HasReceivedOnCurrentConnection(probe.Message, probe.Position))) return probe;
                }

                await Task.Delay(5, Token);
            }

            Assert.True(
                TimeProvider.System.GetElapsedTime(started) < Patience,
                $"{name}: after {Patience}, no message of {string.Join(", ", published)} has reached all " +
                $"subscribers: {string.Join("; ", _subscribers)}");
        }
    }

    static Task EventuallyAsync(Func<bool> condition, string description) =>
        TestNode.EventuallyAsync(() => new(condition()), description, Patience);

    /// <summary>The subscribers that are notified that messages may be missing.</summary>
    private protected enum Notified
    {
        None,
        All,

        /// <summary>
        /// Either all subscribers are notified, or none. The timing decides whether Redis loses messages.
        /// </summary>
        AllOrNone,
        FirstNode,
    }
}
