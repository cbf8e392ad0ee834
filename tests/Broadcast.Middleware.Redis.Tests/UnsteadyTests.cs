using System.Collections.Concurrent;

namespace Broadcast.Middleware.Redis.Tests;

/// <summary>Lines are cut at random while everybody publishes.</summary>
public sealed class UnsteadyTests : FaultTest
{
    [Theory]
    [InlineData(1, 10_000_000)]
    [InlineData(2, 10_000_000)]
    [InlineData(3, 100)]
    public async Task What_was_published_is_heard_by_everyone_once_in_one_order_or_up_to_a_loss_that_is_told(int seed, int remembered)
    {
        const int Publishers = 8, LeastCuts = 12;
        var random = new Random(seed);
        var lines = Enumerable.Range(0, 3).Select(_ => Line()).ToArray();
        var nodes = await Task.WhenAll(lines.Select(line => NodeAsync(
            line.Configuration, options => (options.RepairMessages, options.RepairBytes) = (remembered, 1 << 30))));
        foreach (var node in nodes) await node.SubscribeAsync(Group);
        using var enough = new CancellationTokenSource();
        var told = new ConcurrentBag<(Position Position, string Text)>();
        var failed = new ConcurrentBag<string>();
        var publishing = Task.WhenAll(Enumerable.Range(0, Publishers).Select(publisher => Task.Run(async () =>
        {
            for (var i = 0; !enough.IsCancellationRequested; i++)
            {
                var text = $"{publisher} {i}";
                try
                {
                    told.Add((await nodes[publisher % 3].PublishAsync(Group, text), text));
                }
                catch (BackplaneException)
                {
                    failed.Add(text);
                }
            }
        }, Token)));

        // Each cut falls into the middle of something: the next one comes when its node has published again.
        var cuts = 0;
        for (var round = 0; round < LeastCuts; round++)
        {
            var at = random.Next(3);
            var wanted = random.Next(1, 200);
            await MoreAsync(at, wanted);
            if (round % 4 == 3)
            {
                lines[at].Close();
                await MoreAsync((at + 1) % 3, wanted);
                lines[at].Open();
            }
            else lines[at].Cut();
            cuts++;
        }

        await MoreAsync(0, 1);
        await MoreAsync(1, 1);
        await MoreAsync(2, 1);
        await enough.CancelAsync();
        await publishing;
        var last = told.Max(message => message.Position.Offset);
        foreach (var node in nodes)
        {
            await EventuallyAsync(() => new(node.Losses(Group) > 0 || node.Heard(Group) is [.., var newest] && newest.Position.Offset >= last), "Everything is heard.");
            if (remembered > told.Count) Assert.Equal(0, node.Losses(Group));
            var heard = node.Heard(Group);
            if (node.Losses(Group) == 0) Assert.InRange(heard.Length, last, last + failed.Count);
            Assert.Equal(Enumerable.Range(1, heard.Length).Select(i => (long)i), heard.Select(message => message.Position.Offset));
            Assert.Equal(heard.Length, heard.Select(message => message.Text).Distinct().Count());
            foreach (var message in told.Where(message => message.Position.Offset <= heard.Length)) Assert.Equal(message, heard[message.Position.Offset - 1]);
            // What else was heard, its publisher was told an error about.
            Assert.Empty(heard.Select(message => message.Text).Except(told.Select(message => message.Text)).Except(failed));
            // Each publisher's in its order.
            foreach (var publisher in heard.GroupBy(message => message.Text.Split(' ')[0]))
            {
                var numbers = publisher.Select(message => int.Parse(message.Text.Split(' ')[1])).ToArray();
                Assert.Equal(numbers.Order(), numbers);
            }
        }

        // With what failed too.
        foreach (var node in nodes[1..])
        {
            foreach (var (one, other) in nodes[0].Heard(Group).Zip(node.Heard(Group))) Assert.Equal(one, other);
        }

        Assert.Equal(LeastCuts, cuts);
        Assert.True(lines.Sum(line => line.Cuts) >= LeastCuts, "Cuts have hit connections.");
        TestContext.Current.TestOutputHelper?.WriteLine($"{told.Count} published, {failed.Count} failed, {lines.Sum(line => line.Cuts)} connections cut, losses {string.Join(", ", nodes.Select(node => node.Losses(Group)))}");

        async Task MoreAsync(int node, int count)
        {
            var before = Published(node);
            await EventuallyAsync(() => new(Published(node) >= before + count), "The node publishes.");
        }

        int Published(int node) => told.Count(message => (message.Text[0] - '0') % 3 == node);
    }
}
