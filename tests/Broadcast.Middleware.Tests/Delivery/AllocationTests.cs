using System.Net.WebSockets;
using System.Threading.Tasks.Sources;

namespace Broadcast.Middleware.Tests.Delivery;

/// <summary>Tests that the delivery to an additional connection allocates no memory.</summary>
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
        // The log stores the frames and an index. The index may need as many bytes as the frames.
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

    /// <summary>Tests the calls that create a span if a trace listener exists. Here, no listener exists.</summary>
    [Fact]
    public void PublishAndReceive_NoTraceListener_AllocateOnlyLogBlocks()
    {
        using var broadcast = new TestEngine();
        var connection = broadcast.Connect(broadcast.Pumps[0], "/g", new CountingSink(endsLater: false));
        var context = broadcast.ContextOf(connection);
        var message = new Message(new byte[PayloadBytes], MessageType.Binary);
        var group = Recipients.Group("/g");
        var routed = Measure(() => broadcast.Publish(message, group));
        var published = Measure(() => Complete(broadcast.PublishAsync(message, group)));
        var received = Measure(() => Assert.True(context.PublishAsReceivedAsync(message).IsCompletedSuccessfully));
        // The runs may need different numbers of log blocks. An object per message would need at least 240,000 bytes.
        Assert.InRange(Math.Abs(published - routed), 0, 128 * 1024);
        Assert.InRange(Math.Abs(received - routed), 0, 128 * 1024);

        long Measure(Action send)
        {
            for (var i = 0; i < 2_000; i++) Send();
            var before = GC.GetAllocatedBytesForCurrentThread();
            for (var i = 0; i < Messages; i++) Send();
            return GC.GetAllocatedBytesForCurrentThread() - before;

            void Send()
            {
                send();
                broadcast.Pumps[0].RunUntilIdle();
            }
        }

        static void Complete(ValueTask<PublishResult> publishing)
        {
            Assert.True(publishing.IsCompletedSuccessfully);
            publishing.GetAwaiter().GetResult();
        }
    }

    /// <summary>
    /// Tests members with a filter that rejects every second message. Each write sends the accepted messages of ten
    /// published messages.
    /// </summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Publish_ToMoreFilteredConnections_AllocatesNoMore(bool writesEndLater)
    {
        var filter = SubscriptionFilter.Parse("kind = a");
        var ten = Measure(10, writesEndLater, filter: filter);
        var fifty = Measure(50, writesEndLater, filter: filter);
        Assert.InRange(Math.Abs(fifty - ten), 0, 40L * Messages / 20);
    }

    static long Measure(int connections, bool writesEndLater, ProtocolDescriptor? protocol = null, SubscriptionFilter? filter = null)
    {
        using var broadcast = new TestEngine();
        var sinks = new CountingSink[connections];
        var members = new Connection[connections];
        for (var i = 0; i < connections; i++) members[i] = broadcast.Connect(broadcast.Pumps[0], "/g", sinks[i] = new CountingSink(writesEndLater), protocol: protocol, filter: filter);
        broadcast.RunUntilIdle();
        var message = new Message(new byte[PayloadBytes], MessageType.Binary);
        var rejected = message with { Tags = MessageTags.Create(("kind", "b")) };
        if (filter is not null) message = message with { Tags = MessageTags.Create(("kind", "a")) };
        var group = Recipients.Group("/g");
        // Warm up, so that the queues grow to their final size.
        Publish(2_000);
        var before = GC.GetAllocatedBytesForCurrentThread();
        Publish(Messages);
        var allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        var delivered = filter is null ? Messages + 2_000L : (Messages + 2_000L) / 2;
        if (protocol is null) foreach (var sink in sinks) Assert.Equal(delivered * Frame.Size(PayloadBytes), sink.Bytes);
        return allocated;

        void Publish(int count)
        {
            for (var i = 0; i < count; i++)
            {
                broadcast.Publish(filter is null || i % 2 == 0 ? message : rejected, group);
                if (filter is not null && i % 10 != 9) continue;
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
