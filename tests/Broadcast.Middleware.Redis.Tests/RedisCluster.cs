using System.Diagnostics;

[assembly: AssemblyFixture(typeof(Broadcast.Middleware.Redis.Tests.RedisCluster))]

namespace Broadcast.Middleware.Redis.Tests;

/// <summary>A Redis Cluster of three masters, made when it is first needed.</summary>
public sealed class RedisCluster : IAsyncDisposable
{
    readonly SemaphoreSlim _gate = new(1, 1);
    readonly List<RedisServer> _servers = [];

    public async Task<string> ConfigurationAsync()
    {
        RedisServer.SkipWhereThereIsNone();
        await _gate.WaitAsync();
        try
        {
            if (_servers.Count == 0) await MakeAsync();
        }
        finally
        {
            _gate.Release();
        }

        return string.Join(',', _servers.Select(server => server.Configuration));
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var server in _servers) await server.DisposeAsync();
        _gate.Dispose();
    }

    async Task MakeAsync()
    {
        for (var i = 0; i < 3; i++) _servers.Add(await RedisServer.StartAsync("--cluster-enabled", "yes", "--cluster-node-timeout", "5000"));
        var create = new ProcessStartInfo(
            RedisServer.Client, ["--cluster", "create", .. _servers.Select(server => server.Configuration), "--cluster-yes"]) { RedirectStandardOutput = true };
        using var process = Process.Start(create)!;
        var said = await process.StandardOutput.ReadToEndAsync();
        await process.WaitForExitAsync();
        Assert.True(process.ExitCode == 0, said);
        // Each has to have heard of the others.
        foreach (var server in _servers)
        {
            await using var connection = await server.ConnectAsync();
            var itself = connection.GetServer(server.Configuration);
            while (!(await itself.ExecuteAsync("CLUSTER", "INFO")).ToString()!.Contains("cluster_state:ok", StringComparison.Ordinal)) await Task.Delay(20);
        }
    }
}
