namespace Broadcast.Middleware.Delivery;

/// <summary>The state that a <see cref="FrameStream"/> keeps about the bytes that it has read.</summary>
sealed class ReceivedBytes
{
    FrameInspector _frames;
    ulong _last;

    /// <summary>The last eight bytes.</summary>
    public ulong Last => _last;

    public bool HasInvalidText => _frames.HasInvalidText;

    /// <summary>True after <see cref="FrameStream"/> has completed the frame with the invalid text.</summary>
    public bool IsFrameCompleted { get; set; }

    /// <summary>Continues with the state of an inspector.</summary>
    public void Start(FrameInspector frames) => _frames = frames;

    /// <summary>Adds bytes to <see cref="Last"/>.</summary>
    public void Remember(ReadOnlySpan<byte> bytes)
    {
        foreach (var next in bytes[Math.Max(0, bytes.Length - sizeof(ulong))..]) _last = (_last << 8) | next;
    }

    public void Inspect(ReadOnlySpan<byte> bytes) => _frames.Read(bytes);
}
