using System.Net.WebSockets;
using Broadcast.Middleware;
using Broadcast.Middleware.Connections;
using Broadcast.Middleware.Delivery;
using Broadcast.Middleware.Diagnostics;
using Broadcast.Middleware.Filters;
using Broadcast.Middleware.Hosting;
using Broadcast.Middleware.Logs;
using Broadcast.Middleware.Protocols;
using Broadcast.Middleware.Publishing;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;

namespace Broadcast.Benchmarks;

/// <summary>
/// A broadcast without an app. Its connections count the messages, and complete every write immediately or write to a
/// stream.
/// </summary>
sealed class InMemoryBroadcast : IDisposable
{
    readonly ServiceProvider _services;
    readonly BroadcastInstance _instance;
    readonly EndpointSettings _settings;
    readonly BroadcastTracing _tracing = new("");
    readonly SemaphoreSlim _arrived = new(0);
    long _received;
    long _expected = -1;

    public InMemoryBroadcast(Action<BroadcastOptions>? configure = null)
    {
        _services = new ServiceCollection().AddLogging().AddBroadcast(configure).Services.BuildServiceProvider();
        _instance = _services.GetRequiredKeyedService<BroadcastInstance>("");
        _settings = new EndpointSettings(_services.GetRequiredService<IOptions<BroadcastOptions>>().Value);
    }

    public Connection Connect(string home, SubscriptionFilter? filter = null, Stream? stream = null)
    {
        var request = new ConnectionRequest(
            new NoTransport(), home, null, null, null, null, null, ProtocolDescriptor.Raw, _settings);
        var connection = _instance.Connections.Admit(request, out _)!;
        connection.Writer.Open(new CountingSink(this, stream));
        Join(connection, home, filter: filter);
        return connection;
    }

    /// <summary>Joins a group. Without a cluster, the join completes synchronously.</summary>
    public static JoinResult Join(Connection connection, string group, Replay replay = default, SubscriptionFilter? filter = null)
    {
        var joining = connection.JoinAsync(group, replay, filter);
        if (joining.IsCompletedSuccessfully) return joining.Result;
        throw new InvalidOperationException("The join failed, or did not complete synchronously.");
    }

    /// <summary>Publishes a message. Without a cluster, the call completes synchronously.</summary>
    public PublishResult Publish(Message message, Recipients recipients)
    {
        var publishing = _instance.Router.PublishAsync(message, recipients, CancellationToken.None);
        if (publishing.IsCompletedSuccessfully) return publishing.Result;
        throw new InvalidOperationException("The publish failed, or did not complete synchronously.");
    }

    /// <summary>Publishes a message as an app does: with validation, and with a span if a listener exists.</summary>
    public PublishResult PublishFromApp(Message message, Recipients recipients)
    {
        var publishing = _instance.Broadcaster.PublishAsync(message, recipients, CancellationToken.None);
        if (publishing.IsCompletedSuccessfully) return publishing.Result;
        throw new InvalidOperationException("The publish failed, or did not complete synchronously.");
    }

    /// <summary>Returns an action that handles a message from a client of the connection, without filters.</summary>
    public Action<Message> CreateReceiver(Connection connection, Recipients recipients)
    {
        var validator = new MessageValidator(1 << 20);
        var pipeline = new FilterPipeline([], _instance.Connections, _instance.Router, validator, _tracing, "/ws");
        var context = new MessageContext(connection, new FilterActions(_instance.Broadcaster, validator, _services.GetRequiredService<IServiceScopeFactory>()));
        return message =>
        {
            context.Reset(message);
            context.Recipients = recipients;
            if (!pipeline.OnMessageAsync(context).IsCompletedSuccessfully)
                throw new InvalidOperationException("A filter failed, or did not complete synchronously.");
        };
    }

    /// <summary>Waits until the connections have received this number of messages since the last call.</summary>
    public void WaitForDeliveries(long messages)
    {
        var wait = new SpinWait();
        while (Volatile.Read(ref _received) < messages) wait.SpinOnce(sleep1Threshold: -1);
        if (Interlocked.Exchange(ref _received, 0) != messages) throw new InvalidOperationException("The connections received more messages than expected.");
    }

    /// <summary>
    /// Waits like <see cref="WaitForDeliveries"/>, but uses no CPU time while it waits. Announce the number of messages
    /// before the publish.
    /// </summary>
    public void WaitForAnnouncedDeliveries()
    {
        _arrived.Wait();
        _received = 0;
    }

    /// <summary>Announces the number of messages that the connections will receive.</summary>
    public void AnnounceDeliveries(long messages) => Volatile.Write(ref _expected, messages);

    public void Dispose()
    {
        _tracing.Dispose();
        _services.Dispose();
        _arrived.Dispose();
    }

    sealed class CountingSink(InMemoryBroadcast broadcast, Stream? stream) : Sink
    {
        public override ValueTask WriteAsync(ReadOnlyMemory<byte> frames)
        {
            var writing = stream?.WriteAsync(frames) ?? default;
            var messages = 0;
            while (!frames.IsEmpty)
            {
                Frame.Next(ref frames, out _);
                messages++;
            }

            if (Interlocked.Add(ref broadcast._received, messages) == Volatile.Read(ref broadcast._expected))
                broadcast._arrived.Release();
            return writing;
        }

        public override Task CloseAsync(WebSocketCloseStatus status, string? reason) => Task.CompletedTask;
    }

    /// <summary>The transport of a connection without a request. No component aborts these connections.</summary>
    sealed class NoTransport : ConnectionTransport
    {
        public override CancellationToken ClientGone => CancellationToken.None;

        protected override void AbortCore() { }
    }
}
