using Broadcast.Middleware;
using Grpc.Core;

namespace Broadcast.Recipes.Tests.Grpc;

/// <summary>Streams the messages of the group <c>/orders</c> to gRPC clients.</summary>
sealed class OrderService(IBroadcaster broadcaster) : Orders.OrdersBase
{
    public override async Task Watch(WatchRequest request, IServerStreamWriter<Order> stream, ServerCallContext context)
    {
        var options = new ReadOptions { SlowConsumer = SlowConsumer.SkipToLatest };
        if (request.After.Length > 0)
        {
            if (!Position.TryParse(request.After, out var after))
                throw new RpcException(new(StatusCode.InvalidArgument, "after is not a position. Send the position of the last order, or no position."));
            options.Replay = Replay.After(after);
        }

        await foreach (var item in broadcaster.ReadAsync("/orders", options, context.CancellationToken))
        {
            await stream.WriteAsync(new()
            {
                Text = item.IsGap ? "" : item.ToString(),
                Position = item.Position?.ToString() ?? "",
                IsGap = item.IsGap,
            });
        }
    }
}
