using System.Net.WebSockets;
using Broadcast.Middleware;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Benchmarks;

/// <summary>A broadcast without sockets. Its connections complete every write at once and count the messages.</summary>
sealed class InMemoryBroadcast : IDisposable
{
    readonly ServiceProvider _services;
    long _received;

    public InMemoryBroadcast(Action<BroadcastOptions>? configure = null)
    {
        _services = new ServiceCollection().AddLogging().AddBroadcast(configure).Services.BuildServiceProvider();
        Broadcaster = _services.GetRequiredKeyedService<BroadcastInstance>("");
    }

    public Broadcaster Broadcaster { get; }

    public Connection Connect(string home)
    {
        var connection = Broadcaster.Admit(new DefaultHttpContext(), home, out _)!;
        connection.Writer.Open(new CountingSink(this));
        connection.Join(home);
        return connection;
    }

    /// <summary>Waits until this number of messages has been delivered since the last call.</summary>
    public void WaitForDeliveries(long messages)
    {
        var wait = new SpinWait();
        while (Volatile.Read(ref _received) < messages) wait.SpinOnce(sleep1Threshold: -1);
        if (Interlocked.Exchange(ref _received, 0) != messages) throw new InvalidOperationException("More messages were delivered than published.");
    }

    public void Dispose() => _services.Dispose();

    sealed class CountingSink(InMemoryBroadcast broadcast) : Sink
    {
        public override ValueTask WriteAsync(ReadOnlyMemory<byte> frames)
        {
            var messages = 0;
            while (!frames.IsEmpty)
            {
                Frame.Next(ref frames, out _);
                messages++;
            }

            Interlocked.Add(ref broadcast._received, messages);
            return default;
        }

        public override Task CloseAsync(WebSocketCloseStatus status, string? reason) => Task.CompletedTask;
    }
}
