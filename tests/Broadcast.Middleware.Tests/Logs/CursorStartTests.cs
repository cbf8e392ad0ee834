using System.Runtime.CompilerServices;

namespace Broadcast.Middleware.Tests.Logs;

/// <summary>Tests a cursor with a start position, as in a cluster.</summary>
public sealed class CursorStartTests
{
    [Fact]
    public void Cursor_AfterReading_ReleasesPassedBlocks()
    {
        var log = TestLog.Create(new SequenceClock(static () => 0), 1 << 20);
        var (cursor, first) = Begin(log);
        for (var i = 0; i < 200; i++) Read(log, cursor);
        GC.Collect();
        Assert.False(first.TryGetTarget(out _));
        GC.KeepAlive(cursor);
    }

    // Create the blocks in another method, because a local variable of the test could keep a block alive.
    [MethodImpl(MethodImplOptions.NoInlining)]
    static (Cursor Cursor, WeakReference<Block> First) Begin(MessageLog log)
    {
        log.Append(new(new byte[1_000], MessageType.Binary), null);
        return (new Cursor(log, null!, null, new() { Start = log.End }), new(log.End.Block));
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    static void Read(MessageLog log, Cursor cursor)
    {
        log.Append(new(new byte[1_000], MessageType.Binary), null);
        Assert.True(cursor.TryPeek(out _));
        Assert.False(cursor.Read().IsEmpty);
    }
}
