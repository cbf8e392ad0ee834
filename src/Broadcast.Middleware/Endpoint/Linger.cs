namespace Broadcast.Middleware;

/// <summary>
/// Reads on after a close frame that ended a broken conversation. A socket that is closed with input unread is reset, and the
/// reset can overtake the close frame; a peer that had it stops sending, and closes.
/// </summary>
static class Linger
{
    static readonly TimeSpan AtMost = TimeSpan.FromSeconds(1);
    static readonly TimeSpan Silence = TimeSpan.FromMilliseconds(250);

    public static async Task ReadToEndAsync(Stream stream)
    {
        using var overall = new CancellationTokenSource(AtMost);
        using var silence = CancellationTokenSource.CreateLinkedTokenSource(overall.Token);
        var buffer = new byte[4096];
        try
        {
            do silence.CancelAfter(Silence);
            while (await stream.ReadAsync(buffer, silence.Token) > 0);
        }
        catch (Exception)
        {
            // Enough, or the peer is gone: whatever it is, the connection ends here.
        }
    }
}
