using System.Diagnostics;
using System.Globalization;
using System.Net.WebSockets;

namespace WebDemo.Tests;

/// <summary>Tests a cluster of three nodes that restart one after the other, while clients connect, reconnect and publish.</summary>
[Trait("Run", "More")]
[Collection<RollingRestartCollection>]
public sealed class RollingRestartTests : IAsyncLifetime
{
    const int ClientCount = 6;
    const int NpmPublisherCount = 3;

    // The load balancer resets the transports of clients whose URL contains this query.
    const string UnstableQuery = "?transport=unstable";

    // If a stop takes less time, the node has not aborted a connection. The shutdown timeout of the host is 30 seconds.
    static readonly TimeSpan DrainTimeout = TimeSpan.FromSeconds(25);

    // A retry on another connection would be a new request, so the clients do not retry.
    static readonly object NoRetries = new { messageRetryOptions = new { maxRetries = 0 } };

    readonly DemoServer[] _nodes = [new(), new(), new()];
    readonly CancellationTokenSource _stopPublishing = new();
    readonly SortedList<int, NpmClient> _clients = [];
    readonly List<NodeListener> _nodeListeners = [];
    RedisServer? _redis;
    LoadBalancer? _balancer;

    public async ValueTask InitializeAsync()
    {
        _redis = new RedisServer();
        await Task.WhenAll(_nodes.Select(node => StartNodeAsync(node).AsTask()));
        _balancer = new LoadBalancer([.. _nodes.Select(static node => node.Url)]);
        _balancer.Start();
    }

    public async ValueTask DisposeAsync()
    {
        await _stopPublishing.CancelAsync();
        foreach (var client in _clients.Values) await client.DisposeAsync();
        foreach (var listener in _nodeListeners) listener.Dispose();
        if (_balancer is not null) await _balancer.DisposeAsync();
        foreach (var node in _nodes) await node.DisposeAsync();
        _redis?.Dispose();
        _stopPublishing.Dispose();
    }

    [Fact(Timeout = 240_000)]
    public async Task RollingRestart_UnderLoad_ClientsReceiveOneOrderWithoutGapsOrAreNotified()
    {
        var listeners = await Task.WhenAll(Enumerable.Range(0, ClientCount).Select(ListenAsync));
        var nodeListeners = await Task.WhenAll(_nodes.Select(ListenToNodeAsync));
        using var http = new HttpClient { BaseAddress = _balancer!.Url };
        StreamPublisher[] publishers =
        [
            new("http", text => PostAsync(http, text)),
            .. Enumerable.Range(0, NpmPublisherCount).Select(number => new StreamPublisher($"npm{number}", text => SendAsync(_clients[number], text))),
        ];
        var publishing = Task.WhenAll(publishers.Select(publisher => publisher.PublishAsync(_stopPublishing.Token)));
        await AssertAllReceiveAsync(listeners, publishers);

        var restart = Stopwatch.StartNew();
        var longestStop = TimeSpan.Zero;
        for (var number = 0; number < _nodes.Length; number++)
        {
            // The clients of the reset connections reconnect to other nodes. The stopping node then has sessions without a transport.
            var attempts = _balancer.RecoveryAttempts;
            var cut = _balancer.ResetConnections(_nodes[number].Url, UnstableQuery);
            await WaitUntilAsync(() => _balancer.RecoveryAttempts >= attempts + cut, "Not all clients have tried to recover their connections.");
            var stop = Stopwatch.StartNew();
            Assert.Equal(0, await _nodes[number].StopAsync());
            Assert.InRange(stop.Elapsed, TimeSpan.Zero, DrainTimeout);
            if (stop.Elapsed > longestStop) longestStop = stop.Elapsed;
            Assert.Equal(WebSocketCloseStatus.EndpointUnavailable, await nodeListeners[number].Completed);
            await StartNodeAsync(_nodes[number]);
            nodeListeners[number] = await ListenToNodeAsync(_nodes[number]);
            await AssertAllReceiveAsync(listeners, publishers);
        }

        restart.Stop();
        await _stopPublishing.CancelAsync();
        await publishing;
        Assert.True(await PostAsync(http, MessageStream.End));
        foreach (var listener in listeners) await listener.Completed.WaitAsync(TestLimits.Wait, TestContext.Current.CancellationToken);
        foreach (var listener in nodeListeners) await listener.Completed.WaitAsync(TestLimits.Wait, TestContext.Current.CancellationToken);

        var order = MessageOrder.Combine([
            .. listeners.SelectMany(static listener => listener.Segments), .. _nodeListeners.Select(static listener => listener.Messages),
        ]);
        var places = order.Index().ToDictionary(static message => message.Item, static message => message.Index);
        foreach (var publisher in publishers)
        {
            var acknowledged = publisher.Published.Where(static message => message.IsAcknowledged)
                .Select(message => places.GetValueOrDefault(message.Text, -1)).ToArray();
            Assert.DoesNotContain(-1, acknowledged);
            Assert.Equal(acknowledged.Order(), acknowledged);
        }

        // A stopping node completes its pending requests. The node starts no request that it cannot acknowledge.
        var failed = publishers.SelectMany(static publisher => publisher.Published).Where(static message => !message.IsAcknowledged).ToArray();
        Assert.DoesNotContain(failed, message => places.ContainsKey(message.Text));
        TestContext.Current.TestOutputHelper?.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"""
             Restart of all nodes: {restart.Elapsed.TotalSeconds:F1} s. Longest stop of a node: {longestStop.TotalSeconds:F2} s.
             Published: {order.Count}. Received: {listeners.Sum(static listener => listener.MessageCount)}.
             Failed: {failed.Length}, over HTTP: {failed.Count(static message => message.Text.StartsWith("http", StringComparison.Ordinal))}.
             New connections: {listeners.Sum(static listener => listener.ConnectionCount - 1)}. Recoveries: {_balancer.Recoveries} of {_balancer.RecoveryAttempts} attempts.
             Longest disconnection: {listeners.Max(static listener => listener.LongestDisconnection).TotalMilliseconds:F0} ms.
             """));
    }

    ValueTask StartNodeAsync(DemoServer node) => node.StartAsync([.. _redis!.NodeSettings, $"--Broadcast:DrainTimeout={DrainTimeout}"]);

    async Task<StreamListener> ListenAsync(int number)
    {
        var url = number < NpmPublisherCount ? _balancer!.Url : new Uri(_balancer!.Url, UnstableQuery);
        var client = await NpmClient.ConnectAsync(url, NpmClient.Reliable, NoRetries);
        lock (_clients) _clients.Add(number, client);
        await client.JoinAsync(MessageStream.Group);
        return new StreamListener(client);
    }

    async Task<NodeListener> ListenToNodeAsync(DemoServer node)
    {
        var listener = await NodeListener.JoinAsync(node);
        lock (_nodeListeners) _nodeListeners.Add(listener);
        return listener;
    }

    /// <summary>Waits until each listener has received, from each publisher, a message that was published after this call.</summary>
    static async Task AssertAllReceiveAsync(StreamListener[] listeners, StreamPublisher[] publishers)
    {
        foreach (var publisher in publishers)
        {
            // One earlier message may still be in flight, so wait for the message after it.
            var number = publisher.Published.Count + 1;
            foreach (var listener in listeners)
            {
                await WaitUntilAsync(
                    () => listener.Completed.IsFaulted || listener.GetLastNumber(publisher.Name) >= number,
                    $"A listener has not received message {number} from {publisher.Name}.");
            }
        }

        foreach (var listener in listeners)
            if (listener.Completed.IsFaulted) await listener.Completed;
    }

    static async Task WaitUntilAsync(Func<bool> condition, string failure)
    {
        var watch = Stopwatch.StartNew();
        while (!condition())
        {
            Assert.True(watch.Elapsed < TestLimits.Wait, failure);
            await Task.Delay(10, TestContext.Current.CancellationToken);
        }
    }

    static async Task<bool> SendAsync(NpmClient client, string text)
    {
        try
        {
            await client.CallAsync("sendToGroup", MessageStream.Group, text, "text");
            return true;
        }
        catch (NpmClientException)
        {
            return false;
        }
    }

    static async Task<bool> PostAsync(HttpClient http, string text)
    {
        try
        {
            using var content = new StringContent(text);
            var url = new Uri($"/publish?group={MessageStream.Group}", UriKind.Relative);
            using var response = await http.PostAsync(url, content, TestContext.Current.CancellationToken);
            return response.IsSuccessStatusCode;
        }
        catch (HttpRequestException)
        {
            return false;
        }
    }
}
