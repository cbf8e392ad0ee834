namespace Broadcast.Recipes.Tests;

/// <summary>Tests the background service of docs/guides/readers.md.</summary>
public sealed class OrderBookTests
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task OrderBook_OrdersBeforeAndAfterStart_ContainsAllOrders()
    {
        await using var app = await RecipeApp.StartAsync();
        var database = new OrderDatabase();
        database.Save("0", "old");
        using var book = new OrderBook(app.Broadcaster, database, TimeProvider.System);
        await book.StartAsync(Token);
        await WaitAsync(() => book.Orders.ContainsKey("0"));
        for (var i = 1; i <= 500; i++) await app.PublishAsync("/orders", $"order {i}", $"{i % 100}");
        await WaitAsync(() => book.Orders.GetValueOrDefault("0") == "order 500");
        Assert.Equal(Enumerable.Range(401, 100).Select(i => $"order {i}").Order(), book.Orders.Values.Order());
        Assert.Equal(1, database.Loads);
        await book.StopAsync(Token);
    }

    static async Task WaitAsync(Func<bool> condition)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(Token);
        limit.CancelAfter(TimeSpan.FromMinutes(1));
        while (!condition()) await Task.Delay(10, limit.Token);
    }
}
