using System.Buffers;
using System.Runtime.InteropServices;

namespace Broadcast.Middleware.Logs;

/// <summary>
/// Joins short runs into one run, so that one write can send all entries. A filter leaves short runs, because the
/// filter rejects the entries between these runs. One pump uses the buffer for all its writers, one write after the
/// other.
/// </summary>
sealed class RunBuffer
{
    /// <summary>The buffer joins runs up to this number of log bytes.</summary>
    public const int MaxBytes = 16 * 1024;

    /// <summary>
    /// The buffer does not copy a longer run. A copy of such a run would cost more than an additional system call.
    /// </summary>
    public const int MaxShortRun = 4 * 1024;

    byte[]? _bytes;
    int _length;

    public ReadOnlyMemory<byte> Written => _bytes.AsMemory(0, _length);

    /// <summary>Starts with the bytes of a first run. The bytes of the previous write are then invalid.</summary>
    public void Start(ReadOnlySpan<byte> first)
    {
        _length = 0;
        Add(first);
    }

    public void Add(ReadOnlySpan<byte> run)
    {
        var needed = _length + run.Length;
        if (_bytes is null || _bytes.Length < needed) Grow(Math.Max(needed, MaxBytes));
        run.CopyTo(_bytes.AsSpan(_length));
        _length = needed;
    }

    /// <summary>
    /// Gives the array of the buffer to a pending write, if the write uses the array. The write then returns the array
    /// to the array pool. Returns null if the write does not use the array.
    /// </summary>
    public byte[]? TryDetach(ReadOnlyMemory<byte> frames)
    {
        if (!MemoryMarshal.TryGetArray(frames, out var segment) || segment.Array != _bytes) return null;
        var detached = _bytes;
        _bytes = null;
        return detached;
    }

    void Grow(int size)
    {
        var larger = ArrayPool<byte>.Shared.Rent(size);
        if (_bytes is not null)
        {
            _bytes.AsSpan(0, _length).CopyTo(larger);
            ArrayPool<byte>.Shared.Return(_bytes);
        }

        _bytes = larger;
    }
}
