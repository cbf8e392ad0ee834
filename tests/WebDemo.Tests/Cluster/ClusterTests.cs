namespace WebDemo.Tests;

/// <summary>Tests messages between clients of different nodes.</summary>
public sealed class ClusterTests
{
    [Fact]
    public async Task Send_ToOneNode_ReachesClientsOfBothNodes()
    {
        await using var cluster = await TwoNodeCluster.StartAsync();
        using var ann = await cluster.One.ConnectAsync("/ws");
        using var bob = await cluster.Two.ConnectAsync("/ws");
        await cluster.One.WaitForCountAsync("/ws", 1);
        await cluster.Two.WaitForCountAsync("/ws", 1);
        Assert.Equal("Healthy", await cluster.One.Http.GetStringAsync(new Uri("/health", UriKind.Relative), TestContext.Current.CancellationToken));

        await ann.SendTextAsync("from ann");
        Assert.Equal(("from ann", "from ann"), (await ann.ReceiveTextAsync(), await bob.ReceiveTextAsync()));
        await bob.SendTextAsync("from bob");
        Assert.Equal(("from bob", "from bob"), (await ann.ReceiveTextAsync(), await bob.ReceiveTextAsync()));
    }
}
