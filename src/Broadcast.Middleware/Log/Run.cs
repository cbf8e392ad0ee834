namespace Broadcast.Middleware;

/// <summary>Messages that stand next to each other in a log.</summary>
/// <param name="Frames">Their frames.</param>
/// <param name="Messages">How many they are.</param>
/// <param name="PublishedAt">When the first of them was published, as <see cref="SequenceClock.Timestamp"/>; 0 if nobody wanted to know.</param>
readonly record struct Run(ReadOnlyMemory<byte> Frames, int Messages, long PublishedAt)
{
    public bool IsEmpty => Frames.IsEmpty;
}
