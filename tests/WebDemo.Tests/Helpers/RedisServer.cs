using System.Diagnostics;
using System.Globalization;

namespace WebDemo.Tests;

/// <summary>A redis-server process without persistence, on a free loopback port. Skips the test if redis-server is not installed.</summary>
sealed class RedisServer : IDisposable
{
    static readonly string Program =
        Environment.GetEnvironmentVariable("BROADCAST_TEST_REDIS") is { Length: > 0 } path ? path : "/usr/bin/redis-server";

    readonly ReservedPort _port = new();
    readonly Process _process;

    public RedisServer()
    {
        Assert.SkipUnless(File.Exists(Program), $"{Program} does not exist. Install redis-server, or set BROADCAST_TEST_REDIS to its path.");
        var port = _port.Number.ToString(CultureInfo.InvariantCulture);
        string[] arguments = ["--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
        _process = Process.Start(new ProcessStartInfo(Program, arguments) { RedirectStandardOutput = true })!;
        // On a busy machine, the first connect can take longer than the default timeout of 5 seconds.
        NodeSettings =
            ["--Broadcast:Redis:Configuration=127.0.0.1:" + port, "--Broadcast:Redis:PublishTimeout=00:00:20", "--Prices=false"];
    }

    /// <summary>The settings of a demo server that is a node of this cluster.</summary>
    public IReadOnlyList<string> NodeSettings { get; }

    public void Dispose()
    {
        _process.Kill();
        _process.Dispose();
        _port.Dispose();
    }
}
