namespace Broadcast.Middleware.Tests.Support;

/// <summary>Creates and reads logs without a host, a connection or a service container.</summary>
static class TestLog
{
    public static MessageLog Create(SequenceClock clock, int capacity, SlowConsumer whenSlow = SlowConsumer.Disconnect) =>
        new(clock, new LogSettings(capacity, whenSlow));

    public static ReadOnlyMemory<byte> Read(this Cursor cursor, long lastSequence = long.MaxValue) =>
        cursor.Take(lastSequence).Frames;
}
