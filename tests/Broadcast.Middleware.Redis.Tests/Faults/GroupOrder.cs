namespace Broadcast.Middleware.Redis.Tests.Faults;

/// <summary>The order of the messages of one epoch, combined from all received sequences.</summary>
/// <remarks>
/// If Redis forgets the newest messages and gives their offsets to other messages, the epoch has two orders. Both
/// orders start with the same messages.
/// </remarks>
sealed class GroupOrder
{
    readonly Dictionary<long, MessageId> _messages = [];
    readonly List<ReceivedSequence> _sequences = [];

    public IReadOnlyDictionary<long, MessageId> Messages => _messages;

    /// <summary>The sequences of the subscribers that listen until the end of the test.</summary>
    public IReadOnlyList<ReceivedSequence> Sequences => _sequences;

    /// <summary>Adds a sequence. Returns false if the order has another message at one of the offsets.</summary>
    public bool TryAdd(ReceivedSequence sequence, bool listensToEnd)
    {
        var (first, received) = (sequence.Start.Offset + 1, sequence.Messages);
        for (var i = 0; i < received.Length; i++)
        {
            if (_messages.TryGetValue(first + i, out var other) && other != received[i]) return false;
        }

        for (var i = 0; i < received.Length; i++) _messages[first + i] = received[i];
        if (listensToEnd) _sequences.Add(sequence);
        return true;
    }

    /// <summary>
    /// Asserts that the messages of each publisher are in order. This order also proves that each message exists once.
    /// </summary>
    public void AssertPublishersInOrder()
    {
        var last = new Dictionary<int, int>();
        foreach (var (offset, message) in _messages.OrderBy(static message => message.Key))
        {
            var previous = last.GetValueOrDefault(message.Publisher, -1);
            Assert.True(
                previous < message.Number,
                $"Message {message} has offset {offset}, but message {previous} of the publisher precedes it.");
            last[message.Publisher] = message.Number;
        }
    }
}
