namespace Broadcast.Middleware;

/// <summary>
/// What one client has been sent and has acknowledged, by sequence numbers, and whether it can be sent again what it has not. Used by the
/// connection's pump alone.
/// </summary>
/// <param name="maxBytes">How many bytes may wait for an acknowledgement; 0 if nothing is ever sent again.</param>
/// <param name="maxMessages">How many messages.</param>
/// <param name="maxLogs">How many logs.</param>
sealed class Acknowledgements(long maxBytes, int maxMessages, int maxLogs)
{
    /// <summary>Null for a client that acknowledges nothing.</summary>
    public static Acknowledgements? Of(Connection connection, BroadcastOptions options) => !connection.Protocol.IsReliable ? null : new(
        connection.Session is null ? 0 : options.MaxUnacknowledgedBytes,
        options.MaxUnacknowledgedMessages,
        // Those it is in, everyone's, its lane, and as many that it has left.
        2 * (options.MaxGroupsPerConnection + 2));

    // Below this, something has been sent that cannot be sent again.
    long _safeFrom;

    /// <summary>Whether bookmarks are kept.</summary>
    public bool IsKept { get; private set; } = maxBytes > 0;

    public bool CanKeep => maxBytes > 0;

    /// <summary>Whether it has acknowledged everything that it has been sent with a number.</summary>
    public bool OwesNothing => Newest >= Highest;

    public int MaxLogs => maxLogs;

    /// <summary>The newest message the client says it has.</summary>
    public long Newest { get; private set; }

    /// <summary>The last message on the present line, in the order of numbers.</summary>
    public long LastSent { get; private set; }

    /// <summary>The last one on any line.</summary>
    public long Highest { get; private set; }

    /// <summary>The last one before the present line began.</summary>
    public long HighestBefore { get; private set; }

    /// <summary>The last one in the order of numbers that the client may have by now.</summary>
    public long HighestSent => Math.Max(LastSent, HighestBefore);

    /// <summary>How many messages have been sent and not acknowledged.</summary>
    public long Messages { get; set; }

    public long Bytes { get; set; }

    public bool IsTooMuch => Bytes > maxBytes || Messages > maxMessages;

    /// <summary>Whether everything that has been sent and not acknowledged is kept.</summary>
    public bool IsComplete => IsKept && Newest >= _safeFrom;

    public bool MayWait(long bytes) => bytes <= maxBytes;

    public void OnSent(long sequence, int messages, long bytes)
    {
        LastSent = sequence;
        Highest = Math.Max(Highest, sequence);
        Messages += messages;
        Bytes += bytes;
    }

    /// <summary>
    /// Messages with lower numbers than the last one, the history of a group that was joined late. They are sent without numbers, or the client
    /// would take them for old; so it cannot acknowledge them, but by acknowledging what comes after them.
    /// </summary>
    public void OnSentLate() => _safeFrom = Highest + 1;

    public void OnAcknowledged(long sequence) => Newest = Math.Max(Newest, sequence);

    /// <summary>Bookmarks are kept from where the client is now.</summary>
    public void Keep() => (IsKept, _safeFrom, Messages, Bytes) = (true, Math.Max(_safeFrom, Highest), 0, 0);

    public void Lose() => (IsKept, Messages, Bytes) = (false, 0, 0);

    /// <summary>Everything that has not been acknowledged is sent again.</summary>
    public void Rewind() => (LastSent, HighestBefore, Messages, Bytes) = (Newest, Highest, 0, 0);
}
