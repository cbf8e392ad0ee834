using System.Diagnostics;

namespace Broadcast.Redis.Benchmarks;

/// <summary>A second process of this program that runs as a node with WebSocket clients.</summary>
sealed class NodeProcess : IAsyncDisposable
{
    public const string Command = "node";
    public const string Prefix = "nodes";

    readonly Process _process;

    NodeProcess(Process process, Uri uri) => (_process, Uri) = (process, uri);

    public Uri Uri { get; }

    public TimeSpan Cpu
    {
        get
        {
            _process.Refresh();
            return _process.TotalProcessorTime;
        }
    }

    public long Memory
    {
        get
        {
            _process.Refresh();
            return _process.WorkingSet64;
        }
    }

    public static async Task<NodeProcess> StartAsync(RedisServer redis)
    {
        var program = Path.Combine(AppContext.BaseDirectory, typeof(NodeProcess).Assembly.GetName().Name!);
        var start = new ProcessStartInfo(program, [Command, redis.Configuration]) { RedirectStandardInput = true, RedirectStandardOutput = true };
        var process = Process.Start(start)!;
        return new(process, new(await process.StandardOutput.ReadLineAsync() ?? throw new InvalidOperationException("The node process has ended before it listened.")));
    }

    /// <summary>Runs the node until its standard input ends.</summary>
    public static async Task RunAsync(string redis)
    {
        await using var host = await Hosts.StartBroadcastAsync(redis, Prefix);
        Console.WriteLine(host.Urls.First());
        await Console.In.ReadLineAsync();
    }

    public async ValueTask DisposeAsync()
    {
        _process.StandardInput.Close();
        await _process.WaitForExitAsync();
        _process.Dispose();
    }
}
