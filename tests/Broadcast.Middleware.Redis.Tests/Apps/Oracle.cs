namespace Broadcast.Middleware.Redis.Tests.Apps;

/// <summary>Whether everybody has everything once in one order, or was told.</summary>
static class Oracle
{
    /// <param name="publishers">Who have come to an end.</param>
    /// <param name="subscribers">Who have.</param>
    /// <param name="forgets">Whether Redis may have forgotten the newest messages of an epoch, and given their places to others before anybody noticed.</param>
    /// <returns>How many messages the orders of all epochs have, and how many of them are in two epochs.</returns>
    public static (int InOrder, int Twice) Check(IReadOnlyList<Publisher> publishers, IReadOnlyList<Subscriber> subscribers, bool forgets)
    {
        foreach (var subscriber in subscribers) IsUnbroken(subscriber);
        var epochs = subscribers.SelectMany(static subscriber => subscriber.Stretches)
            .GroupBy(static stretch => stretch.Start.Epoch).ToDictionary(static epoch => epoch.Key, epoch => OrdersOf(epoch, forgets));
        foreach (var order in epochs.Values.SelectMany(static orders => orders)) order.IsInOrderOfPublishers();
        var told = publishers.ToDictionary(static publisher => publisher.Number, static publisher => publisher.Told);
        foreach (var (epoch, orders) in epochs)
        {
            foreach (var order in orders) WhatIsThereWasPublished(order, epoch, told, isOnly: orders.Count == 1);
        }

        foreach (var (publisher, positions) in told)
        {
            for (var number = 0; number < positions.Length; number++)
            {
                if (positions[number] is { } position && epochs.TryGetValue(position.Epoch, out var orders)) WhatWasPublishedIsThere(new(publisher, number), position, orders);
            }
        }

        var inOrder = epochs.Values.SelectMany(static orders => orders).SelectMany(static order => order.Messages.Values).ToArray();
        return (inOrder.Distinct().Count(), inOrder.Length - inOrder.Distinct().Count());
    }

    /// <summary>Between two of its connections it was told; and where it was said to have recovered, it has gone on exactly where it was.</summary>
    static void IsUnbroken(Subscriber subscriber)
    {
        var stretches = subscriber.Stretches;
        for (var i = 0; i < stretches.Length; i++)
        {
            Assert.Equal(i < stretches.Length - 1, stretches[i].WasTold);
            if (i > 0 && stretches[i].Recovered is true) Assert.Equal(stretches[i - 1].End, stretches[i].Start);
            // What it has missed it was told of by this; what it has, it is not given again.
            if (i > 0 && stretches[i].Start.Epoch == stretches[i - 1].Start.Epoch) Assert.InRange(stretches[i].Start.Offset, stretches[i - 1].End.Offset, long.MaxValue);
        }
    }

    static List<Order> OrdersOf(IEnumerable<Stretch> stretches, bool forgets)
    {
        var orders = new List<Order> { new() };
        // The longest shows most of its order.
        foreach (var stretch in stretches.OrderByDescending(static stretch => stretch.Heard.Length))
        {
            if (orders.Any(order => order.TryAdd(stretch))) continue;
            Assert.True(forgets, $"Two subscribers have heard different messages at the same place of epoch {stretch.Start.Epoch:x16}.");
            orders.Add(new());
            orders[^1].TryAdd(stretch);
        }

        // Where there are two, that epoch is over, and everybody knows.
        Assert.InRange(orders.Count, 1, 2);
        if (orders.Count == 2) Assert.All(orders, static order => Assert.All(order.Stretches, static stretch => Assert.True(stretch.WasTold)));
        return orders;
    }

    static void WhatIsThereWasPublished(Order order, ulong epoch, Dictionary<int, Position?[]> told, bool isOnly)
    {
        foreach (var (offset, message) in order.Messages)
        {
            Assert.InRange(message.Number, 0, told[message.Publisher].Length - 1);
            // In another epoch too, if Redis was gone before it could say that it had taken it.
            if (isOnly && told[message.Publisher][message.Number] is { } position && position.Epoch == epoch) Assert.Equal((message, position.Offset), (message, offset));
        }
    }

    static void WhatWasPublishedIsThere(MessageId message, Position position, List<Order> orders)
    {
        if (orders.Any(order => order.Messages.TryGetValue(position.Offset, out var there) && there == message)) return;
        // Nobody has it, and everybody who was to have it was told.
        Assert.All(orders, order => Assert.All(order.Stretches, stretch => Assert.True(
            stretch.Start.Offset >= position.Offset || (stretch.End.Offset < position.Offset && stretch.WasTold) || (orders.Count == 2 && stretch.WasTold),
            $"Message {message} was told to stand at {position}; a connection that has heard from {stretch.Start.Offset} to {stretch.End.Offset} has not got it, and was not told.")));
    }
}
