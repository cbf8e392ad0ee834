using Broadcast.Middleware;

namespace WebDemo;

/// <summary>Sends 20 prices per second to each client of /prices/throttled, like a slow network.</summary>
static class ThrottledPrices
{
    static readonly TimeSpan Pause = TimeSpan.FromSeconds(1d / 20);

    public static void Map(IEndpointRouteBuilder app) =>
        app.MapBroadcast("/prices/throttled").Use(static (_, _) => Task.CompletedTask).UseConnect(static async (context, next) =>
        {
            await next(context);
            if (context.Result.Joined) _ = CopyAsync(context.Broadcaster, context.Connection);
        });

    static async Task CopyAsync(IBroadcaster broadcaster, IBroadcastConnection connection)
    {
        // A disconnect of the client cancels the task.
        var aborted = connection.ConnectionAborted;
        #region prices
        // Whenever the reader is behind, it skips the prices that a newer price of the same symbol replaces.
        await foreach (var item in broadcaster.ReadAsync("/prices", new ReadOptions { SlowConsumer = SlowConsumer.Conflate }, aborted))
        {
            await broadcaster.PublishAsync(item.Message, Recipients.Connection(connection.Id), aborted);
            await Task.Delay(Pause, aborted);
        }
        #endregion
    }
}
