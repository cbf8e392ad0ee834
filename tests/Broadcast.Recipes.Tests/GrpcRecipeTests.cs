using Broadcast.Recipes.Tests.Grpc;
using Grpc.Core;
using Grpc.Net.Client;

namespace Broadcast.Recipes.Tests;

/// <summary>Runs the gRPC recipe with a real client over HTTP/2.</summary>
public sealed class GrpcRecipeTests
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Watch_ClientReconnectsWithPosition_ReceivesEachOrderOnce()
    {
        await using var app = await RecipeApp.StartAsync();
        using var channel = GrpcChannel.ForAddress(app.GrpcUrl);
        var client = new Orders.OrdersClient(channel);
        // After an unknown position, the first item is a gap. The gap contains the position at which the call starts.
        var position = "";
        using (var call = client.Watch(new() { After = "0000000000000000-1" }, cancellationToken: Token))
        {
            Assert.True(await call.ResponseStream.MoveNext(Token));
            Assert.True(call.ResponseStream.Current.IsGap);
            position = call.ResponseStream.Current.Position;
        }

        var next = 1;
        for (var round = 0; round < 5; round++)
        {
            for (var i = 1; i <= 6; i++) await app.PublishAsync("/orders", $"{(round * 6) + i}");
            using var call = client.Watch(new() { After = position }, cancellationToken: Token);
            for (var i = 1; i <= 6; i++)
            {
                Assert.True(await call.ResponseStream.MoveNext(Token));
                Assert.Equal(($"{next++}", false), (call.ResponseStream.Current.Text, call.ResponseStream.Current.IsGap));
                position = call.ResponseStream.Current.Position;
            }
        }
    }

    [Fact]
    public async Task Watch_MalformedPosition_FailsWithInvalidArgument()
    {
        await using var app = await RecipeApp.StartAsync();
        using var channel = GrpcChannel.ForAddress(app.GrpcUrl);
        using var call = new Orders.OrdersClient(channel).Watch(new() { After = "7" }, cancellationToken: Token);
        var error = await Assert.ThrowsAsync<RpcException>(() => call.ResponseStream.MoveNext(Token));
        Assert.Equal(StatusCode.InvalidArgument, error.StatusCode);
    }

    /// <summary>The reader must end when the app stops. Otherwise, the shutdown would last until the shutdown timeout.</summary>
    [Fact]
    public async Task Watch_AppStops_CallEndsWithoutError()
    {
        await using var app = await RecipeApp.StartAsync();
        using var channel = GrpcChannel.ForAddress(app.GrpcUrl);
        using var call = new Orders.OrdersClient(channel).Watch(new() { After = "0000000000000000-1" }, cancellationToken: Token);
        Assert.True(await call.ResponseStream.MoveNext(Token));
        var stopping = app.StopAsync();
        Assert.False(await call.ResponseStream.MoveNext(Token));
        await stopping;
    }
}
