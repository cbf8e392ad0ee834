namespace Broadcast.Middleware.Redis.Tests.Faults;

/// <summary>
/// Checks that every subscriber received every message once, in one common order, or was notified of a loss.
/// </summary>
/// <param name="redisForgets">
/// True if Redis may forget the newest messages of an epoch and give their offsets to other messages.
/// </param>
sealed class DeliveryChecker(bool redisForgets)
{
    /// <param name="publishers">The publishers. No publish is in flight.</param>
    /// <param name="subscribers">The subscribers that listened until the end.</param>
    /// <param name="temporarySubscribers">The subscribers that listened for a while.</param>
    /// <returns>
    /// The number of different messages in all epochs, and the number of messages that exist in two epochs.
    /// </returns>
    public (int Total, int InTwoEpochs) Check(
        IReadOnlyList<Publisher> publishers, IReadOnlyList<Subscriber> subscribers,
        IReadOnlyList<Subscriber> temporarySubscribers)
    {
        foreach (var subscriber in subscribers) AssertContinuous(subscriber);
        var sequences = subscribers
            .SelectMany(static subscriber => subscriber.Sequences)
            .Select(static sequence => (Sequence: sequence, ListensToEnd: true))
            .Concat(temporarySubscribers
                .SelectMany(static subscriber => subscriber.Sequences)
                .Select(static sequence => (Sequence: sequence, ListensToEnd: false)));
        var epochs = sequences
            .GroupBy(static item => item.Sequence.Start.Epoch)
            .ToDictionary(static epoch => epoch.Key, FindOrders);
        foreach (var order in epochs.Values.SelectMany(static orders => orders)) order.AssertPublishersInOrder();
        var positions = publishers.ToDictionary(
            static publisher => publisher.Number, static publisher => publisher.Positions);
        foreach (var (epoch, orders) in epochs)
        {
            foreach (var order in orders) AssertPublished(order, epoch, positions, IsAmbiguous(orders));
        }

        foreach (var (publisher, publisherPositions) in positions)
        {
            for (var number = 0; number < publisherPositions.Length; number++)
            {
                if (publisherPositions[number] is not { } position) continue;
                if (!epochs.TryGetValue(position.Epoch, out var orders)) continue;
                AssertReceivedOrNotified(new(publisher, number), position, orders);
            }
        }

        var all = epochs.Values
            .SelectMany(static orders => orders)
            .SelectMany(static order => order.Messages.Values)
            .ToArray();
        var total = all.Distinct().Count();
        return (total, all.Length - total);
    }

    /// <summary>
    /// Asserts that each connection except the last one ended with a notice. Asserts that a recovered connection
    /// started at the position at which the previous connection ended.
    /// </summary>
    static void AssertContinuous(Subscriber subscriber)
    {
        var sequences = subscriber.Sequences;
        for (var i = 0; i < sequences.Length; i++)
        {
            Assert.Equal(i < sequences.Length - 1, sequences[i].IsNotifiedOfLoss);
            if (i == 0) continue;
            var (previous, current) = (sequences[i - 1], sequences[i]);
            if (current.Recovered is true) Assert.Equal(previous.End, current.Start);
            // A notified subscriber can miss messages, but it never receives a message twice.
            if (current.Start.Epoch == previous.Start.Epoch)
                Assert.InRange(current.Start.Offset, previous.End.Offset, long.MaxValue);
        }
    }

    List<GroupOrder> FindOrders(IEnumerable<(ReceivedSequence Sequence, bool ListensToEnd)> sequences)
    {
        var orders = new List<GroupOrder> { new() };
        // The longest sequence contains the most messages of an order, so add this sequence first.
        foreach (var (sequence, listensToEnd) in sequences.OrderByDescending(
            static item => item.Sequence.Messages.Length))
        {
            if (orders.Any(order => order.TryAdd(sequence, listensToEnd))) continue;
            Assert.True(
                redisForgets,
                $"Two subscribers received different messages at one offset of epoch {sequence.Start.Epoch:x16}.");
            orders.Add(new());
            orders[^1].TryAdd(sequence, listensToEnd);
        }

        Assert.True(
            orders.Count == 1 || (orders.Count == 2 && IsAmbiguous(orders)),
            $"An epoch has {orders.Count} orders, but not all subscribers were notified of its end. " +
            string.Join("; ", orders.Select(DescribeDifference)));
        return orders;

        string DescribeDifference(GroupOrder order) =>
            $"first difference: {order.Messages.Where(message => orders[0].Messages.TryGetValue(message.Key, out var first) && first != message.Value).Select(static message => $"{message.Key} is {message.Value}").FirstOrDefault("none")}, " +
            $"sequences: {string.Join(", ", order.Sequences.Select(static sequence => $"{sequence.Start} to {sequence.End} {(sequence.IsNotifiedOfLoss ? "notified" : "not notified")}"))}";
    }

    /// <summary>
    /// True if Redis may have given an offset of this epoch to two messages. In this case, all subscribers were
    /// notified that the epoch has ended.
    /// </summary>
    bool IsAmbiguous(List<GroupOrder> orders) =>
        redisForgets && orders.All(
            static order => order.Sequences.All(static sequence => sequence.IsNotifiedOfLoss));

    static void AssertPublished(
        GroupOrder order, ulong epoch, Dictionary<int, Position?[]> positions, bool isAmbiguous)
    {
        foreach (var (offset, message) in order.Messages)
        {
            var publisherPositions = positions[message.Publisher];
            Assert.True(
                message.Number >= 0 && message.Number < publisherPositions.Length,
                $"Message {message} was received, but not published.");
            if (isAmbiguous || publisherPositions[message.Number] is not { } position) continue;
            // If Redis fails before it answers, the node publishes the message again. The message can then also exist
            // in another epoch.
            Assert.True(
                position.Epoch != epoch || position.Offset == offset,
                $"Message {message} was published at {position}, but received at {offset}.");
        }
    }

    void AssertReceivedOrNotified(MessageId message, Position position, List<GroupOrder> orders)
    {
        if (IsAmbiguous(orders)) return;
        if (orders.Any(order =>
            order.Messages.TryGetValue(position.Offset, out var received) && received == message)) return;
        // No subscriber received the message. So each subscriber must have joined later, or must have been notified.
        foreach (var sequence in orders.SelectMany(static order => order.Sequences))
        {
            Assert.True(
                sequence.Start.Offset >= position.Offset
                || (sequence.End.Offset < position.Offset && sequence.IsNotifiedOfLoss),
                $"Message {message} was published at {position}. A connection that received {sequence.Start} to " +
                $"{sequence.End} did not receive the message and was not notified.");
        }
    }
}
