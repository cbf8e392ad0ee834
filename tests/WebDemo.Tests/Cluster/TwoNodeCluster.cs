namespace WebDemo.Tests;

/// <summary>Two nodes of the demo and one Redis server.</summary>
sealed class TwoNodeCluster : IAsyncDisposable
{
    readonly RedisServer _redis = new();

    public DemoServer One { get; } = new();

    public DemoServer Two { get; } = new();

    /// <summary>Starts the nodes. Each setting is a command-line argument of both nodes.</summary>
    public static async Task<TwoNodeCluster> StartAsync(params string[] settings)
    {
        var cluster = new TwoNodeCluster();
        string[] all = [.. cluster._redis.NodeSettings, .. settings];
        await Task.WhenAll(cluster.One.StartAsync(all).AsTask(), cluster.Two.StartAsync(all).AsTask());
        return cluster;
    }

    public async ValueTask DisposeAsync()
    {
        await One.DisposeAsync();
        await Two.DisposeAsync();
        _redis.Dispose();
    }
}
