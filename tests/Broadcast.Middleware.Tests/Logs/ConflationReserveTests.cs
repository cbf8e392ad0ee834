using System.Text;

namespace Broadcast.Middleware.Tests.Logs;

/// <summary>Tests that a log keeps messages up to twice the backlog limit after the reserve is enabled.</summary>
public sealed class ConflationReserveTests
{
    const int Backlog = 100_000;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Reserve_OfExistingLog_KeepsMoreForSlowReaderOnlyIfEnabled(bool isEnabled)
    {
        var reserve = new ConflationReserve(Backlog);
        var clock = new SequenceClock();
        var log = new MessageLog(clock, new LogSettings(Backlog, null, Reserve: reserve));
        var cursor = new Cursor(log, new IdleSubscriber(), null);
        if (isEnabled) reserve.Enable();
        var payload = Encoding.ASCII.GetBytes(new string('x', 10_000));
        lock (log.Gate)
        {
            // The blocks before the newest block have more bytes than the backlog limit, but less than twice this limit.
            for (var i = 0; i < 20; i++) log.AppendLocked(new Message(payload, MessageType.Text), null);
        }

        var read = 0;
        while (cursor.TryPeek(out var sequence))
        {
            cursor.Take(sequence);
            read++;
        }

        Assert.Equal(isEnabled, !cursor.HasMissed);
        Assert.Equal(isEnabled, read == 20);
    }
}
