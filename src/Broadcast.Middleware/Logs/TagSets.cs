namespace Broadcast.Middleware.Logs;

/// <summary>
/// Numbers the different tags of the entries of one block: entries with equal tags have the same number. Entries often
/// have equal tags, so a filter needs one evaluation for each number, not for each entry. Any thread may use this
/// class.
/// </summary>
sealed class TagSets
{
    /// <summary>
    /// The number of an entry whose tags have no number of their own. Lower numbers fit into the bits of a
    /// <see cref="ulong"/>.
    /// </summary>
    public const byte None = 64;

    const byte WithoutTags = 0;

    readonly Lock _gate = new();
    readonly Dictionary<MessageTags, byte> _numberOf = [];
    byte[] _numbers = new byte[64];
    int _count;

    /// <summary>Returns the numbers of the first entries of the block.</summary>
    /// <param name="block">The block. Each call must have the same block.</param>
    /// <param name="count">The number of entries.</param>
    public ReadOnlySpan<byte> GetNumbers(Block block, int count)
    {
        if (Volatile.Read(ref _count) < count) Complete(block, count);
        return Volatile.Read(ref _numbers).AsSpan(0, count);
    }

    void Complete(Block block, int count)
    {
        lock (_gate)
        {
            if (_numbers.Length < count) GrowLocked(count);
            for (var i = _count; i < count; i++) _numbers[i] = NumberOfLocked(block[i].Metadata?.Tags);
            if (count > _count) Volatile.Write(ref _count, count);
        }
    }

    byte NumberOfLocked(MessageTags? tags)
    {
        if (tags is null) return WithoutTags;
        if (_numberOf.TryGetValue(tags, out var number)) return number;
        number = (byte)(_numberOf.Count + 1);
        if (number < None) _numberOf.Add(tags, number);
        return number;
    }

    void GrowLocked(int count)
    {
        var larger = new byte[Math.Max(_numbers.Length * 2, count)];
        _numbers.CopyTo(larger, 0);
        Volatile.Write(ref _numbers, larger);
    }
}
