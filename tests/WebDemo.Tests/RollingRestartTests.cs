using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Net.WebSockets;
using System.Text.Json;

namespace WebDemo.Tests;

/// <summary>Three demos and one Redis, restarted one after the other while clients come, go on and publish.</summary>
public sealed class RollingRestartTests : IAsyncLifetime
{
    const string Group = "stream";
    const int Clients = 9;
    const int Publishers = 4;
    const string Unsteady = "?line=unsteady";

    // Nobody had to be cut off: that happens when the default of DrainTimeout is over.
    static readonly TimeSpan InTime = TimeSpan.FromSeconds(10);

    static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);
    static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(10);

    // A request that fails is not repeated by the client: on another connection nobody would know that it is the same.
    static readonly object Options = new { messageRetryOptions = new { maxRetries = 0 } };

    readonly Demo[] _nodes = [new(), new(), new()];
    readonly CancellationTokenSource _enough = new();
    readonly SortedList<int, NpmClient> _clients = [];
    readonly List<Witness> _witnesses = [];
    Redis? _redis;
    Balancer? _balancer;

    public async ValueTask InitializeAsync()
    {
        _redis = new Redis();
        foreach (var node in _nodes) await node.StartAsync(_redis.Settings);
        _balancer = new Balancer(_nodes.Select(static node => node.Url));
    }

    public async ValueTask DisposeAsync()
    {
        await _enough.CancelAsync();
        foreach (var client in _clients.Values) await client.DisposeAsync();
        foreach (var witness in _witnesses) witness.Dispose();
        if (_balancer is not null) await _balancer.DisposeAsync();
        foreach (var node in _nodes) await node.DisposeAsync();
        _redis?.Dispose();
        _enough.Dispose();
    }

    [Fact(Timeout = 120_000)]
    public async Task In_a_rolling_restart_everyone_hears_one_order_without_gaps_or_is_told()
    {
        var listeners = await Task.WhenAll(Enumerable.Range(0, Clients).Select(ListenAsync));
        var witnesses = await Task.WhenAll(_nodes.Select(WitnessAsync));
        using var http = new HttpClient { BaseAddress = _balancer!.Url };
        Publisher[] publishers =
        [
            new("http", text => PostAsync(http, text)),
            .. Enumerable.Range(0, Publishers).Select(number => new Publisher($"npm{number}", text => SendAsync(_clients[number], text))),
        ];
        var publishing = Task.WhenAll(publishers.Select(publisher => publisher.PublishAsync(_enough.Token)));
        await EveryoneHearsAsync(listeners, publishers);

        var restart = Stopwatch.StartNew();
        var longestStop = TimeSpan.Zero;
        for (var number = 0; number < _nodes.Length; number++)
        {
            // Some of its connections have no line when it ends: their clients have come to another node.
            var reconnections = _balancer.Reconnections;
            var cut = _balancer.Cut(_nodes[number].Url, Unsteady);
            await UntilAsync(() => _balancer.Reconnections >= reconnections + cut, "Those who were cut do not come back.");
            var stop = Stopwatch.StartNew();
            Assert.Equal(0, await _nodes[number].StopAsync());
            Assert.InRange(stop.Elapsed, TimeSpan.Zero, InTime);
            if (stop.Elapsed > longestStop) longestStop = stop.Elapsed;
            Assert.Equal(WebSocketCloseStatus.EndpointUnavailable, await witnesses[number].Ended);
            await _nodes[number].StartAsync(_redis!.Settings);
            witnesses[number] = await WitnessAsync(_nodes[number]);
            await EveryoneHearsAsync(listeners, publishers);
        }

        restart.Stop();
        await _enough.CancelAsync();
        await publishing;
        Assert.True(await PostAsync(http, Part.Last));
        foreach (var listener in listeners) await listener.Done.WaitAsync(Patience, TestContext.Current.CancellationToken);
        foreach (var witness in witnesses) await witness.Ended.WaitAsync(Patience, TestContext.Current.CancellationToken);

        var order = Order.Of([.. listeners.SelectMany(static listener => listener.Parts), .. _witnesses.Select(static witness => witness.Part)]);
        var places = order.Index().ToDictionary(static message => message.Item, static message => message.Index);
        foreach (var publisher in publishers)
        {
            var answered = publisher.Published.Where(static message => message.IsAnswered).Select(message => places.GetValueOrDefault(message.Text, -1)).ToArray();
            Assert.DoesNotContain(-1, answered);
            Assert.Equal(answered.Order(), answered);
        }

        // A node that stops answers what it has begun, and begins nothing that it cannot answer.
        var failed = publishers.SelectMany(static publisher => publisher.Published).Where(static message => !message.IsAnswered).ToArray();
        Assert.DoesNotContain(failed, message => places.ContainsKey(message.Text));
        TestContext.Current.TestOutputHelper?.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"""
             {restart.Elapsed.TotalSeconds:F1} s, the longest stop {longestStop.TotalSeconds:F2} s; {order.Count} messages, {listeners.Sum(static listener => listener.Count)} received;
             {failed.Length} not published, {failed.Count(static message => message.Text.StartsWith("http", StringComparison.Ordinal))} of them over HTTP;
             {listeners.Sum(static listener => listener.Connections - 1)} reconnections, {_balancer.Recoveries} recoveries of {_balancer.Reconnections} wanted;
             without a connection for {listeners.Max(static listener => listener.LongestAbsence).TotalMilliseconds:F0} ms at most
             """));
    }

    [Fact]
    public async Task Who_was_on_a_node_that_stops_is_gone_for_the_others_at_once()
    {
        using var watcher = await _nodes[0].ConnectAsync("/rooms/rolling/presence");
        using var ann = await _nodes[0].ConnectAsync("/rooms/rolling");
        var (annsId, _) = await NextAsync(static _ => true);
        using var bob = await _nodes[1].ConnectAsync("/rooms/rolling");
        var (bobsId, name) = await NextAsync(id => id != annsId);
        Assert.NotNull(name);

        var stop = Stopwatch.StartNew();
        var stopping = _nodes[1].StopAsync();
        Assert.Equal(WebSocketMessageType.Close, (await bob.ReceiveAsync()).Type);
        await bob.CloseOutputAsync(WebSocketCloseStatus.EndpointUnavailable, null, TestContext.Current.CancellationToken);
        // Not by the end of its sign of life, for which NodeTimeout is 12 seconds.
        Assert.Equal((bobsId, null), await NextAsync(id => id == bobsId).WaitAsync(TimeSpan.FromSeconds(10), TestContext.Current.CancellationToken));
        TestContext.Current.TestOutputHelper?.WriteLine(string.Create(CultureInfo.InvariantCulture, $"Gone after {stop.Elapsed.TotalMilliseconds:F0} ms."));
        Assert.Equal(0, await stopping);

        async Task<(string? Id, string? Name)> NextAsync(Func<string?, bool> isAbout)
        {
            while (true)
            {
                var member = JsonSerializer.Deserialize<JsonElement>(await watcher.ReceiveTextAsync());
                var id = member.GetProperty("id").GetString();
                if (isAbout(id)) return (id, member.TryGetProperty("name", out var name) ? name.GetString() : null);
            }
        }
    }

    async Task<Listener> ListenAsync(int number)
    {
        var url = number < Publishers ? _balancer!.Url : new Uri(_balancer!.Url, Unsteady);
        var client = await NpmClient.ConnectAsync(url, NpmClient.Reliable, Options);
        lock (_clients) _clients.Add(number, client);
        await client.JoinAsync(Group);
        return new Listener(client);
    }

    async Task<Witness> WitnessAsync(Demo node)
    {
        var witness = await Witness.JoinAsync(node);
        lock (_witnesses) _witnesses.Add(witness);
        return witness;
    }

    /// <summary>What is published from now on.</summary>
    static async Task EveryoneHearsAsync(Listener[] listeners, Publisher[] publishers)
    {
        foreach (var publisher in publishers)
        {
            // One may be under way.
            var number = publisher.Published.Count + 1;
            foreach (var listener in listeners)
                await UntilAsync(() => listener.Done.IsFaulted || listener.LastOf(publisher.Name) >= number, $"Not everyone hears {publisher.Name}.");
        }

        foreach (var listener in listeners)
            if (listener.Done.IsFaulted) await listener.Done;
    }

    static async Task UntilAsync(Func<bool> condition, string otherwise)
    {
        var limit = Stopwatch.StartNew();
        while (!condition())
        {
            Assert.True(limit.Elapsed < Patience, otherwise);
            await Task.Delay(Pause, TestContext.Current.CancellationToken);
        }
    }

    static async Task<bool> SendAsync(NpmClient client, string text)
    {
        try
        {
            await client.CallAsync("sendToGroup", Group, text, "text");
            return true;
        }
        catch (NpmException)
        {
            return false;
        }
    }

    static async Task<bool> PostAsync(HttpClient http, string text)
    {
        try
        {
            using var content = new StringContent(text);
            using var answer = await http.PostAsync(new Uri($"/publish?group={Group}", UriKind.Relative), content, TestContext.Current.CancellationToken);
            return answer.IsSuccessStatusCode;
        }
        catch (HttpRequestException)
        {
            return false;
        }
    }

    /// <summary>One at a time, each once.</summary>
    sealed class Publisher(string name, Func<string, Task<bool>> publish)
    {
        public string Name => name;

        public ConcurrentQueue<(string Text, bool IsAnswered)> Published { get; } = [];

        public async Task PublishAsync(CancellationToken enough)
        {
            using var timer = new PeriodicTimer(Pause);
            try
            {
                while (await timer.WaitForNextTickAsync(enough))
                {
                    var text = Part.Text(name, Published.Count);
                    Published.Enqueue((text, await publish(text)));
                }
            }
            catch (OperationCanceledException) when (enough.IsCancellationRequested)
            {
                // That was all.
            }
        }
    }

    /// <summary>What one has heard on one connection.</summary>
    sealed class Part
    {
        public const string Last = "the last";

        public List<string> Messages { get; } = [];

        public static string Text(string publisher, int number) => string.Create(CultureInfo.InvariantCulture, $"{publisher} {number}");
    }

    /// <summary>Reads what a client hears, until the last message.</summary>
    sealed class Listener
    {
        readonly ConcurrentDictionary<string, int> _lastOf = [];
        readonly HashSet<string> _connectionIds;

        public Listener(NpmClient client)
        {
            _connectionIds = [client.ConnectionId];
            Done = ReadAsync(client);
        }

        public Task Done { get; }

        public List<Part> Parts { get; } = [new()];

        public int Connections => _connectionIds.Count;

        public int Count => Parts.Sum(static part => part.Messages.Count);

        /// <summary>From the last event on one connection to the first on the next.</summary>
        public TimeSpan LongestAbsence { get; private set; }

        /// <summary>The last number it has heard from a publisher.</summary>
        public int LastOf(string publisher) => _lastOf.GetValueOrDefault(publisher, -1);

        async Task ReadAsync(NpmClient client)
        {
            var heardAt = Stopwatch.GetTimestamp();
            var isConnected = true;
            while (true)
            {
                var (name, arguments) = await client.NextAsync();
                switch (name)
                {
                    case "disconnected":
                        Parts.Add(new());
                        isConnected = false;
                        continue;
                    case "connected":
                        // It is in its group again when it says so; what it hears may be first.
                        Assert.True(_connectionIds.Add(arguments.GetProperty("connectionId").GetString()!), "Not told that its connection is another.");
                        isConnected = OnHeard();
                        continue;
                    case "rejoin-group-failed":
                        // Its connection ended in the meantime: it says so next.
                        continue;
                    case "group-message" or "server-message":
                        var text = arguments.GetProperty("message").GetProperty("data").GetString()!;
                        Parts[^1].Messages.Add(text);
                        isConnected = OnHeard();
                        if (text == Part.Last) return;
                        if (text.Split(' ') is [var publisher, var number]) _lastOf[publisher] = int.Parse(number, CultureInfo.InvariantCulture);
                        continue;
                    default:
                        Assert.Fail($"{name}: {arguments}");
                        return;
                }
            }

            bool OnHeard()
            {
                var now = Stopwatch.GetTimestamp();
                if (!isConnected && Stopwatch.GetElapsedTime(heardAt, now) is var absence && absence > LongestAbsence) LongestAbsence = absence;
                heardAt = now;
                return true;
            }
        }
    }

    /// <summary>On a node itself, with no more than a socket, until the last message or the node's end: some of them always hear what all others do.</summary>
    sealed class Witness : IDisposable
    {
        readonly ClientWebSocket _socket;
        readonly TaskCompletionSource _joined = new(TaskCreationOptions.RunContinuationsAsynchronously);

        Witness(ClientWebSocket socket)
        {
            _socket = socket;
            Ended = ReadAsync();
        }

        public Part Part { get; } = new();

        /// <summary>How the node has said goodbye; null after the last message.</summary>
        public Task<WebSocketCloseStatus?> Ended { get; }

        public static async Task<Witness> JoinAsync(Demo node)
        {
            var socket = await node.ConnectAsync("/ws", "json.webpubsub.azure.v1");
            await socket.SendAsync($$"""{"type":"joinGroup","group":"{{Group}}","ackId":1}""");
            var witness = new Witness(socket);
            await witness._joined.Task.WaitAsync(Patience, TestContext.Current.CancellationToken);
            return witness;
        }

        public void Dispose() => _socket.Dispose();

        async Task<WebSocketCloseStatus?> ReadAsync()
        {
            while (true)
            {
                var (type, bytes) = await _socket.ReceiveAsync();
                if (type == WebSocketMessageType.Close)
                {
                    await _socket.CloseOutputAsync(_socket.CloseStatus!.Value, null, TestContext.Current.CancellationToken);
                    return _socket.CloseStatus;
                }

                var message = JsonSerializer.Deserialize<JsonElement>(bytes);
                if (message.GetProperty("type").GetString() == "ack") _joined.TrySetResult();
                if (!message.TryGetProperty("data", out var data)) continue;
                Part.Messages.Add(data.GetString()!);
                if (data.GetString() == Part.Last) return null;
            }
        }
    }

    /// <summary>The one order in which everything was published, put together from the parts that some have heard.</summary>
    static class Order
    {
        public static List<string> Of(IReadOnlyList<Part> parts)
        {
            var after = new Dictionary<string, string>();
            var before = new Dictionary<string, string>();
            foreach (var part in parts)
            {
                foreach (var (one, next) in part.Messages.Zip(part.Messages.Skip(1)))
                {
                    // What is missing, comes twice or in another order has another neighbour than elsewhere.
                    if (!after.TryAdd(one, next)) Assert.Equal((one, after[one]), (one, next));
                    if (!before.TryAdd(next, one)) Assert.Equal((before[next], next), (one, next));
                }
            }

            var all = parts.SelectMany(static part => part.Messages).ToHashSet();
            var order = new List<string> { Assert.Single(all, message => !before.ContainsKey(message)) };
            while (after.TryGetValue(order[^1], out var next)) order.Add(next);
            Assert.Equal(all.Count, order.Count);
            Assert.Equal(Part.Last, order[^1]);
            return order;
        }
    }
}
