using System.Diagnostics;
using Broadcast.Middleware.Redis.Tests.Infrastructure;

[assembly: AssemblyFixture(typeof(RedisCluster))]

namespace Broadcast.Middleware.Redis.Tests.Infrastructure;

/// <summary>A Redis Cluster of three masters. The first test that needs the cluster starts it.</summary>
public sealed class RedisCluster : IAsyncDisposable
{
    readonly SemaphoreSlim _lock = new(1, 1);
    readonly List<RedisServer> _servers = [];
    bool _isReady;

    public async Task<string> GetConfigurationAsync()
    {
        RedisServer.SkipUnlessInstalled();
        await _lock.WaitAsync();
        try
        {
            if (!_isReady) await StartAsync();
            _isReady = true;
        }
        finally
        {
            _lock.Release();
        }

        return string.Join(',', _servers.Select(server => server.Configuration));
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var server in _servers) await server.DisposeAsync();
        _lock.Dispose();
    }

    async Task StartAsync()
    {
        for (var i = 0; i < 3; i++)
        {
            _servers.Add(await RedisServer.StartNewAsync(
                "--cluster-enabled", "yes", "--cluster-node-timeout", "5000"));
        }

        string[] servers = [.. _servers.Select(server => server.Configuration)];
        using var process = Process.Start(new ProcessStartInfo(
            RedisServer.ClientProgram, ["--cluster", "create", .. servers, "--cluster-yes"])
        {
            RedirectStandardOutput = true,
        })!;
        var output = await process.StandardOutput.ReadToEndAsync();
        await process.WaitForExitAsync();
        Assert.True(process.ExitCode == 0, output);
        // Each master must know the other masters before a test uses the cluster.
        foreach (var server in _servers)
        {
            await using var connection = await server.ConnectAsync();
            var master = connection.GetServer(server.Configuration);
            await TestNode.EventuallyAsync(
                async () =>
                {
                    var info = (await master.ExecuteAsync("CLUSTER", "INFO")).ToString()!;
                    return info.Contains("cluster_state:ok", StringComparison.Ordinal);
                },
                "The master knows the other masters.");
        }
    }
}
