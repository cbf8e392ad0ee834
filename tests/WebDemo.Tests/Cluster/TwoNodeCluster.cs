namespace WebDemo.Tests;

/// <summary>Two nodes of the demo and one Redis server.</summary>
sealed class TwoNodeCluster : IAsyncDisposable
{
    readonly RedisServer _redis = new();

    public DemoServer One { get; } = new();

    public DemoServer Two { get; } = new();

    public static async Task<TwoNodeCluster> StartAsync()
    {
        var cluster = new TwoNodeCluster();
        var settings = cluster._redis.NodeSettings;
        await Task.WhenAll(cluster.One.StartAsync(settings).AsTask(), cluster.Two.StartAsync(settings).AsTask());
        return cluster;
    }

    public async ValueTask DisposeAsync()
    {
        await One.DisposeAsync();
        await Two.DisposeAsync();
        _redis.Dispose();
    }
}
