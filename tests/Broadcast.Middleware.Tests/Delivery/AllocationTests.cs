using System.Net.WebSockets;
using System.Threading.Tasks.Sources;

namespace Broadcast.Middleware.Tests.Delivery;

/// <summary>Tests that a delivery to another connection allocates no memory.</summary>
[Collection(nameof(NotParallelCollection))]
public sealed class AllocationTests
{
    const int Messages = 10_000;
    const int PayloadBytes = 120;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Publish_ToMoreConnections_AllocatesNoMore(bool writesEndLater)
    {
        var ten = Measure(10, writesEndLater);
        var hundred = Measure(100, writesEndLater);
        var appended = (long)Messages * Frame.Size(PayloadBytes);
        // The log stores the frames and their index. The limit leaves room for both.
        Assert.InRange(ten, appended, appended * 2);
        // The 90 extra connections may allocate at most a hundredth of a byte per delivery.
        Assert.InRange(Math.Abs(hundred - ten), 0, 90L * Messages / 100);
    }

    /// <summary>Tests reliable clients, for which the log encodes each message once.</summary>
    [Fact]
    public void Publish_ToMoreReliableClients_AllocatesNoMore()
    {
        var ten = Measure(10, writesEndLater: false, ReliableReceiver.Protocol);
        var hundred = Measure(100, writesEndLater: false, ReliableReceiver.Protocol);
        Assert.InRange(Math.Abs(hundred - ten), 0, 90L * Messages / 100);
    }

    static long Measure(int connections, bool writesEndLater, ProtocolDescriptor? protocol = null)
    {
        using var broadcast = new TestEngine();
        var sinks = new CountingSink[connections];
        var members = new Connection[connections];
        for (var i = 0; i < connections; i++) members[i] = broadcast.Connect(broadcast.Pumps[0], "/g", sinks[i] = new CountingSink(writesEndLater), protocol: protocol);
        broadcast.RunUntilIdle();
        var message = new Message(new byte[PayloadBytes], MessageType.Binary);
        var group = Recipients.Group("/g");
        // Warm up, so that the queues grow to their final size.
        Publish(2_000);
        var before = GC.GetAllocatedBytesForCurrentThread();
        Publish(Messages);
        var allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        if (protocol is null) foreach (var sink in sinks) Assert.Equal((Messages + 2_000L) * Frame.Size(PayloadBytes), sink.Bytes);
        return allocated;

        void Publish(int count)
        {
            for (var i = 0; i < count; i++)
            {
                broadcast.Publish(message, group);
                broadcast.Pumps[0].RunUntilIdle();
                if (protocol is not null)
                {
                    foreach (var member in members) member.Writer.OnAcknowledged(broadcast.Clock.Last);
                    broadcast.Pumps[0].RunUntilIdle();
                }

                if (!writesEndLater) continue;
                foreach (var sink in sinks) sink.Complete();
                broadcast.Pumps[0].RunUntilIdle();
            }
        }
    }

    sealed class CountingSink(bool endsLater) : Sink, IValueTaskSource
    {
        ManualResetValueTaskSourceCore<bool> _write;

        public long Bytes { get; private set; }

        public override ValueTask WriteAsync(ReadOnlyMemory<byte> frames)
        {
            Bytes += frames.Length;
            return endsLater ? new ValueTask(this, _write.Version) : default;
        }

        public override Task CloseAsync(WebSocketCloseStatus status, string? reason) => throw new InvalidOperationException("The test does not close this sink.");

        public void Complete() => _write.SetResult(true);

        void IValueTaskSource.GetResult(short token)
        {
            _write.GetResult(token);
            _write.Reset();
        }

        ValueTaskSourceStatus IValueTaskSource.GetStatus(short token) => _write.GetStatus(token);

        void IValueTaskSource.OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
            _write.OnCompleted(continuation, state, token, flags);
    }
}
