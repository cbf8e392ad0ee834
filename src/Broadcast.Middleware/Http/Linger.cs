namespace Broadcast.Middleware.Http;

/// <summary>
/// Reads and discards input for a short time after a close frame. The operating system resets a socket that closes with
/// unread input, and the reset can overtake the close frame. A client that has received the close frame stops sending
/// and closes the connection.
/// </summary>
static class Linger
{
    static readonly TimeSpan MaxTime = TimeSpan.FromSeconds(1);
    static readonly TimeSpan MaxSilence = TimeSpan.FromMilliseconds(250);

    public static async Task ReadToEndAsync(Stream stream)
    {
        using var total = new CancellationTokenSource(MaxTime);
        using var silence = CancellationTokenSource.CreateLinkedTokenSource(total.Token);
        var buffer = new byte[4096];
        try
        {
            do silence.CancelAfter(MaxSilence);
            while (await stream.ReadAsync(buffer, silence.Token) > 0);
        }
        catch (Exception)
        {
            // The time is over, or the client is gone. The connection ends in both cases.
        }
    }
}
