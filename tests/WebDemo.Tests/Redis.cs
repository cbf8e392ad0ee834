using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;

namespace WebDemo.Tests;

/// <summary>A server that keeps nothing, for several demos. Skips the test where it is not installed.</summary>
sealed class Redis : IDisposable
{
    static readonly string Program = Environment.GetEnvironmentVariable("BROADCAST_TEST_REDIS") is { Length: > 0 } chosen ? chosen : "/usr/bin/redis-server";

    readonly Process _process;

    public Redis()
    {
        Assert.SkipUnless(File.Exists(Program), $"{Program} is missing: install redis-server.");
        using var probe = new TcpListener(IPAddress.Loopback, 0);
        probe.Start();
        var port = ((IPEndPoint)probe.LocalEndpoint).Port.ToString(CultureInfo.InvariantCulture);
        probe.Stop();
        _process = Process.Start(
            new ProcessStartInfo(Program, ["--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]) { RedirectStandardOutput = true })!;
        Settings = ["--Broadcast:Redis:Configuration=127.0.0.1:" + port, "--Prices=false"];
    }

    /// <summary>Of a demo that is one of its nodes.</summary>
    public IReadOnlyList<string> Settings { get; }

    public void Dispose()
    {
        _process.Kill();
        _process.Dispose();
    }
}
