namespace WebDemo.Tests;

/// <summary>Combines the segments that different clients have received into one common order of all messages.</summary>
static class MessageOrder
{
    /// <summary>Fails if two segments contradict each other, because a message is missing, repeated or reordered.</summary>
    public static List<string> Combine(IReadOnlyList<List<string>> segments)
    {
        var next = new Dictionary<string, string>();
        var previous = new Dictionary<string, string>();
        foreach (var segment in segments)
        {
            foreach (var (first, second) in segment.Zip(segment.Skip(1)))
            {
                // A missing, repeated or reordered message gives other messages different neighbors in two segments.
                if (!next.TryAdd(first, second)) Assert.Equal((first, next[first]), (first, second));
                if (!previous.TryAdd(second, first)) Assert.Equal((previous[second], second), (first, second));
            }
        }

        var all = segments.SelectMany(static segment => segment).ToHashSet();
        var order = new List<string> { Assert.Single(all, message => !previous.ContainsKey(message)) };
        while (next.TryGetValue(order[^1], out var following)) order.Add(following);
        Assert.Equal(all.Count, order.Count);
        Assert.Equal(MessageStream.End, order[^1]);
        return order;
    }
}
