namespace Broadcast.Middleware.Redis.Tests.Apps;

/// <summary>Whether everybody has everything once in one order, or was told.</summary>
static class Oracle
{
    /// <param name="publishers">Who have come to an end.</param>
    /// <param name="subscribers">Who have listened to the end.</param>
    /// <param name="passersBy">Who have listened for a while.</param>
    /// <param name="forgets">Whether Redis may have forgotten the newest messages of an epoch, and given their places to others before anybody noticed.</param>
    /// <returns>How many messages the orders of all epochs have, and how many of them are in two epochs.</returns>
    public static (int InOrder, int Twice) Check(IReadOnlyList<Publisher> publishers, IReadOnlyList<Subscriber> subscribers, IReadOnlyList<Subscriber> passersBy, bool forgets)
    {
        foreach (var subscriber in subscribers) IsUnbroken(subscriber);
        var stretches = subscribers.SelectMany(static subscriber => subscriber.Stretches.Select(static stretch => (stretch, GoesOn: true)))
            .Concat(passersBy.SelectMany(static passerBy => passerBy.Stretches.Select(static stretch => (stretch, GoesOn: false))));
        var epochs = stretches.GroupBy(static one => one.stretch.Start.Epoch).ToDictionary(static epoch => epoch.Key, epoch => OrdersOf(epoch, forgets));
        foreach (var order in epochs.Values.SelectMany(static orders => orders)) order.IsInOrderOfPublishers();
        var told = publishers.ToDictionary(static publisher => publisher.Number, static publisher => publisher.Told);
        foreach (var (epoch, orders) in epochs)
        {
            foreach (var order in orders) WhatIsThereWasPublished(order, epoch, told, IsAmbiguous(orders, forgets));
        }

        foreach (var (publisher, positions) in told)
        {
            for (var number = 0; number < positions.Length; number++)
            {
                if (positions[number] is { } position && epochs.TryGetValue(position.Epoch, out var orders)) WhatWasPublishedIsThere(new(publisher, number), position, orders, forgets);
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

    static List<Order> OrdersOf(IEnumerable<(Stretch Stretch, bool GoesOn)> stretches, bool forgets)
    {
        var orders = new List<Order> { new() };
        // The longest shows most of its order.
        foreach (var (stretch, goesOn) in stretches.OrderByDescending(static one => one.Stretch.Heard.Length))
        {
            if (orders.Any(order => order.TryAdd(stretch, goesOn))) continue;
            Assert.True(forgets, $"Two subscribers have heard different messages at the same place of epoch {stretch.Start.Epoch:x16}.");
            orders.Add(new());
            orders[^1].TryAdd(stretch, goesOn);
        }

        Assert.True(orders.Count == 1 || (orders.Count == 2 && IsAmbiguous(orders, forgets)), "There are two orders of an epoch, and not everybody was told that it is over.");
        return orders;
    }

    /// <summary>Redis may have given places of this epoch twice; it is over, and everybody was told.</summary>
    static bool IsAmbiguous(List<Order> orders, bool forgets) =>
        forgets && orders.All(static order => order.Stretches.All(static stretch => stretch.WasTold));

    static void WhatIsThereWasPublished(Order order, ulong epoch, Dictionary<int, Position?[]> told, bool isAmbiguous)
    {
        foreach (var (offset, message) in order.Messages)
        {
            var positions = told[message.Publisher];
            Assert.True(message.Number >= 0 && message.Number < positions.Length, $"Nobody has published {message}.");
            // In another epoch too, if Redis was gone before it could say that it had taken it.
            if (!isAmbiguous && positions[message.Number] is { } position && position.Epoch == epoch)
                Assert.True(position.Offset == offset, $"Message {message} was told to stand at {position}, and was heard at {offset}.");
        }
    }

    static void WhatWasPublishedIsThere(MessageId message, Position position, List<Order> orders, bool forgets)
    {
        if (IsAmbiguous(orders, forgets) || orders.Any(order => order.Messages.TryGetValue(position.Offset, out var there) && there == message)) return;
        // Nobody has it, and everybody who was to have it was told.
        foreach (var stretch in orders.SelectMany(static order => order.Stretches))
        {
            Assert.True(
                stretch.Start.Offset >= position.Offset || (stretch.End.Offset < position.Offset && stretch.WasTold),
                $"Message {message} was told to stand at {position}; a connection that has heard from {stretch.Start.Offset} to {stretch.End.Offset} has not got it, and was not told.");
        }
    }
}
