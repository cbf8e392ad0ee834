namespace Broadcast.Middleware.Logs;

/// <summary>
/// Tracks which sequence numbers the server has sent to one client, and which of these numbers the client has
/// acknowledged. The state shows whether the server can send the unacknowledged messages again. Only the thread of the
/// subscriber uses this class.
/// </summary>
/// <param name="maxBytes">
/// The maximum number of unacknowledged bytes. 0 means that the server does not resend messages.
/// </param>
/// <param name="maxMessages">The maximum number of unacknowledged messages.</param>
/// <param name="maxLogs">The maximum number of logs, including logs that the connection left.</param>
sealed class Acknowledgements(long maxBytes, int maxMessages, int maxLogs)
{
    // The server cannot send some messages again, for example messages without a number. After the client has
    // acknowledged the number in this field or a higher number, the client has received all of these messages.
    long _safeFrom;

    // The highest number that the server has sent for a message that is not transient. While a client has no transport,
    // the client misses transient messages, and cannot acknowledge their numbers.
    long _highestStored;

    /// <summary>True while the cursors keep bookmarks.</summary>
    public bool IsTracking { get; private set; } = maxBytes > 0;

    /// <summary>True if the options allow the server to send messages to this client again.</summary>
    public bool CanTrack => maxBytes > 0;

    /// <summary>True if the client has acknowledged every message that the server would send again.</summary>
    public bool IsUpToDate => Acknowledged >= _highestStored;

    public int MaxLogs => maxLogs;

    /// <summary>The highest number that the client has acknowledged.</summary>
    public long Acknowledged { get; private set; }

    /// <summary>The highest number that the server has sent on the current transport.</summary>
    public long LastSent { get; private set; }

    /// <summary>The highest number that the server has sent on any transport.</summary>
    public long Highest { get; private set; }

    /// <summary>The highest number that the server had sent before the current transport started.</summary>
    public long HighestBefore { get; private set; }

    /// <summary>The highest number that the client may have received.</summary>
    public long HighestSent => Math.Max(LastSent, HighestBefore);

    /// <summary>The number of unacknowledged messages.</summary>
    public long Messages { get; private set; }

    /// <summary>The size of the unacknowledged messages in bytes.</summary>
    public long Bytes { get; private set; }

    public bool ExceedsLimit => Bytes > maxBytes || Messages > maxMessages;

    /// <summary>True if the server can send every unacknowledged message again.</summary>
    public bool IsComplete => IsTracking && Acknowledged >= _safeFrom;

    public bool IsWithinLimit(long bytes) => bytes <= maxBytes;

    /// <summary>Records messages that the reader is about to send.</summary>
    /// <param name="sequence">The number of the last message.</param>
    /// <param name="storedSequence">
    /// The number of the last message that is not transient. 0 if all messages are transient.
    /// </param>
    /// <param name="messages">The number of messages that are not transient.</param>
    /// <param name="bytes">The size of these messages in bytes.</param>
    public void OnSent(long sequence, long storedSequence, int messages, long bytes)
    {
        LastSent = sequence;
        Highest = Math.Max(Highest, sequence);
        _highestStored = Math.Max(_highestStored, storedSequence);
        Messages += messages;
        Bytes += bytes;
    }

    /// <summary>
    /// Records that the reader sent messages without their numbers, because the reader had already sent higher numbers.
    /// </summary>
    /// <remarks>
    /// Example: a client has received message 7 and joins a group whose history has messages 3 and 4. With numbers, the
    /// client would drop 3 and 4 as duplicates. The client cannot acknowledge 3 and 4 directly. The acknowledgement of
    /// a later number covers messages 3 and 4.
    /// </remarks>
    public void OnSentWithoutNumber() => _safeFrom = Highest + 1;

    public void OnAcknowledged(long sequence) => Acknowledged = Math.Max(Acknowledged, sequence);

    public void SetUnacknowledged(long messages, long bytes) => (Messages, Bytes) = (messages, bytes);

    /// <summary>Starts tracking. The caller has already set the bookmarks of all cursors.</summary>
    public void StartTracking()
    {
        IsTracking = true;
        _safeFrom = Math.Max(_safeFrom, _highestStored);
        SetUnacknowledged(0, 0);
    }

    public void StopTracking()
    {
        IsTracking = false;
        SetUnacknowledged(0, 0);
    }

    /// <summary>Prepares for a new transport, on which the reader sends every unacknowledged message again.</summary>
    public void Rewind()
    {
        LastSent = Acknowledged;
        HighestBefore = Highest;
        SetUnacknowledged(0, 0);
    }
}
