using System.Diagnostics.Metrics;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging.Abstractions;

namespace Broadcast.Middleware.Tests.Properties;

/// <summary>Creates parts of the engine without an app.</summary>
static class TestEngine
{
    static readonly IMeterFactory _meters = new ServiceCollection().AddMetrics().BuildServiceProvider().GetRequiredService<IMeterFactory>();

    public static Broadcaster CreateBroadcaster(BroadcastOptions options, IConnectionRegistry registry, TimeProvider time, IBackplane? backplane = null) =>
        new("", options, registry, null, null, null, [], backplane, time, _meters, NullLogger.Instance, null);

    public static MessageLog CreateLog(SequenceClock clock, int capacity, SlowConsumer whenSlow = SlowConsumer.Disconnect) =>
        new(clock, new LogSettings(capacity, whenSlow));

    public static ReadOnlyMemory<byte> Read(this Cursor cursor, long lastSequence = long.MaxValue) => cursor.Take(lastSequence).Frames;
}
