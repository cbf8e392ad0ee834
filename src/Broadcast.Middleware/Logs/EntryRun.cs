namespace Broadcast.Middleware.Logs;

/// <summary>
/// Entries of a log that one write can send. The entries are consecutive, unless a <see cref="RunBuffer"/> has joined
/// several runs.
/// </summary>
/// <param name="Frames">The encoded entries.</param>
/// <param name="Messages">The number of entries.</param>
/// <param name="PublishedAt">
/// The publish time of the first entry: see <see cref="SequenceClock.Timestamp"/>. 0 means unknown.
/// </param>
readonly record struct EntryRun(ReadOnlyMemory<byte> Frames, int Messages, long PublishedAt)
{
    public bool IsEmpty => Frames.IsEmpty;
}
