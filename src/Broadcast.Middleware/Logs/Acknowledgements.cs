namespace Broadcast.Middleware.Logs;

/// <summary>
/// Counts the messages that one client has received and acknowledged, by sequence number. It tells whether the server
/// can send the unacknowledged messages again. Only the pump of the connection uses it.
/// </summary>
/// <param name="maxBytes">The maximum number of unacknowledged bytes. 0 if messages are never sent again.</param>
/// <param name="maxMessages">The maximum number of unacknowledged messages.</param>
/// <param name="maxLogs">The maximum number of logs, including logs that the connection left.</param>
sealed class Acknowledgements(long maxBytes, int maxMessages, int maxLogs)
{
    // A message below this number was sent and cannot be sent again.
    long _safeFrom;

    /// <summary>True while the cursors keep bookmarks.</summary>
    public bool IsTracking { get; private set; } = maxBytes > 0;

    /// <summary>True if messages can be sent again at all.</summary>
    public bool CanTrack => maxBytes > 0;

    /// <summary>True if the client has acknowledged every numbered message that it was sent.</summary>
    public bool IsUpToDate => Acknowledged >= Highest;

    public int MaxLogs => maxLogs;

    /// <summary>The highest number that the client has acknowledged.</summary>
    public long Acknowledged { get; private set; }

    /// <summary>The highest number that was sent on the current transport.</summary>
    public long LastSent { get; private set; }

    /// <summary>The highest number that was sent on any transport.</summary>
    public long Highest { get; private set; }

    /// <summary>The highest number that was sent before the current transport started.</summary>
    public long HighestBefore { get; private set; }

    /// <summary>The highest number that the client may have received.</summary>
    public long HighestSent => Math.Max(LastSent, HighestBefore);

    /// <summary>The number of unacknowledged messages.</summary>
    public long Messages { get; private set; }

    /// <summary>The size of the unacknowledged messages in bytes.</summary>
    public long Bytes { get; private set; }

    public bool ExceedsLimit => Bytes > maxBytes || Messages > maxMessages;

    /// <summary>True if every unacknowledged message can be sent again.</summary>
    public bool IsComplete => IsTracking && Acknowledged >= _safeFrom;

    public bool IsWithinLimit(long bytes) => bytes <= maxBytes;

    public void OnSent(long sequence, int messages, long bytes)
    {
        LastSent = sequence;
        Highest = Math.Max(Highest, sequence);
        Messages += messages;
        Bytes += bytes;
    }

    /// <summary>The reader sent messages without their numbers, because newer numbers were sent before.</summary>
    /// <remarks>
    /// Example: a client has message 7 and joins a group whose history has messages 3 and 4. With numbers, the client
    /// would drop 3 and 4 as duplicates. The client cannot acknowledge them directly. Its next acknowledgement of a
    /// later number covers them.
    /// </remarks>
    public void OnSentWithoutNumber() => _safeFrom = Highest + 1;

    public void OnAcknowledged(long sequence) => Acknowledged = Math.Max(Acknowledged, sequence);

    public void SetUnacknowledged(long messages, long bytes) => (Messages, Bytes) = (messages, bytes);

    /// <summary>The cursors keep bookmarks from their current places on.</summary>
    public void StartTracking()
    {
        IsTracking = true;
        _safeFrom = Math.Max(_safeFrom, Highest);
        SetUnacknowledged(0, 0);
    }

    public void StopTracking()
    {
        IsTracking = false;
        SetUnacknowledged(0, 0);
    }

    /// <summary>A new transport starts: the reader sends every unacknowledged message again.</summary>
    public void Rewind()
    {
        LastSent = Acknowledged;
        HighestBefore = Highest;
        SetUnacknowledged(0, 0);
    }
}
