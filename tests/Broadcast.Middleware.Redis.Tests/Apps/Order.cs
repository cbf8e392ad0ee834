namespace Broadcast.Middleware.Redis.Tests.Apps;

/// <summary>
/// The order of one epoch, as all stretches of it together show it. Where a Redis that had forgotten the newest messages gave their places to others,
/// there are two orders, which begin alike.
/// </summary>
sealed class Order
{
    readonly Dictionary<long, MessageId> _messages = [];
    readonly List<Stretch> _stretches = [];

    public IReadOnlyDictionary<long, MessageId> Messages => _messages;

    /// <summary>Those that were to go on to the end.</summary>
    public IReadOnlyList<Stretch> Stretches => _stretches;

    /// <summary>Adds a stretch; false if something else stands in one of its places.</summary>
    public bool TryAdd(Stretch stretch, bool goesOn)
    {
        var (first, heard) = (stretch.Start.Offset + 1, stretch.Heard);
        for (var i = 0; i < heard.Length; i++)
        {
            if (_messages.TryGetValue(first + i, out var other) && other != heard[i]) return false;
        }

        for (var i = 0; i < heard.Length; i++) _messages[first + i] = heard[i];
        if (goesOn) _stretches.Add(stretch);
        return true;
    }

    /// <summary>Each publisher's in its order, and so each once.</summary>
    public void IsInOrderOfPublishers()
    {
        var last = new Dictionary<int, int>();
        foreach (var (offset, message) in _messages.OrderBy(static message => message.Key))
        {
            var before = last.GetValueOrDefault(message.Publisher, -1);
            Assert.True(before < message.Number, $"Message {message}, at {offset}, comes after number {before} of its publisher.");
            last[message.Publisher] = message.Number;
        }
    }
}
