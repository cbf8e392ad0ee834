namespace Broadcast.Middleware;

/// <summary>How a cursor differs from one that starts at its log's end and takes frames as they stand. Each has its own.</summary>
sealed class CursorOptions
{
    /// <summary>Null for frames as they stand.</summary>
    public WireFormat? Format { get; init; }

    /// <summary>Where it starts; null for the log's end.</summary>
    public (Block Block, int Index)? Start { get; set; }

    /// <summary>The offset of the first message it reads.</summary>
    public long FirstOffset { get; init; }

    /// <summary>The first message that is published after the start. What lies before is history.</summary>
    public long LiveOffset { get; init; }

    /// <summary>From where on a reader can be behind, as <see cref="MessageLog.NewestByte"/>.</summary>
    public long LiveByte { get; set; }

    /// <summary>From where on messages may have to be sent again; null if that is never done.</summary>
    public Bookmark? Bookmark { get; set; }

    /// <summary>Of what was published before this offset, only what has a sequence number is sent again.</summary>
    public long ResentBefore { get; set; }

    /// <summary>What stands before this offset was sent on a line before the present one.</summary>
    public long SentBefore { get; set; }

    /// <summary>What is to be sent before any message.</summary>
    public ReadOnlyMemory<byte> Opening { get; init; }

    bool _isOpened;

    public ReadOnlyMemory<byte> TakeOpening()
    {
        if (_isOpened) return default;
        _isOpened = true;
        return Opening;
    }
}
