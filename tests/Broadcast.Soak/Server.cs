using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace Broadcast.Soak;

/// <summary>Starts the demo in its own process, with a limited heap.</summary>
/// <remarks>
/// On a machine with much free memory, a runtime without a limit may keep old garbage for an hour. The test could not
/// distinguish this garbage from a leak.
/// </remarks>
sealed class Server : IDisposable
{
    const int HeapLimit = 64 * 1024 * 1024;

    readonly Process _process;
    readonly StringBuilder _errors = new();

    Server(Process process, Uri address) => (_process, Address) = (process, address);

    public Uri Address { get; }

    public string Errors => _errors.ToString();

    public long ResidentKilobytes => long.Parse(
        File.ReadLines($"/proc/{_process.Id}/status").First(line => line.StartsWith("VmRSS:", StringComparison.Ordinal)).Split(' ', StringSplitOptions.RemoveEmptyEntries)[1],
        CultureInfo.InvariantCulture);

    public static Server Start(string demo)
    {
        var probe = new TcpListener(IPAddress.Loopback, 0);
        probe.Start();
        var address = new Uri($"http://127.0.0.1:{((IPEndPoint)probe.LocalEndpoint).Port}");
        probe.Stop();
        var process = Process.Start(new ProcessStartInfo("dotnet", [demo, "--urls", address.ToString()])
        {
            RedirectStandardOutput = true,
            Environment = { ["DOTNET_GCHeapHardLimit"] = HeapLimit.ToString("x", CultureInfo.InvariantCulture) },
        })!;
        var server = new Server(process, address);
        process.OutputDataReceived += (_, line) =>
        {
            if (line.Data?.StartsWith("fail:", StringComparison.Ordinal) is true || line.Data?.StartsWith("crit:", StringComparison.Ordinal) is true) server._errors.AppendLine(line.Data);
        };
        process.BeginOutputReadLine();
        return server;
    }

    public async Task WaitUntilReadyAsync()
    {
        using var http = new HttpClient { BaseAddress = Address };
        for (var i = 0; i < 100; i++)
        {
            try
            {
                await http.GetStringAsync("/count");
                return;
            }
            catch (HttpRequestException)
            {
                await Task.Delay(100);
            }
        }

        throw new TimeoutException("The demo has not started after 10 seconds.");
    }

    /// <summary>Returns false if the server still has connections after 10 seconds.</summary>
    public async Task<bool> WaitUntilEmptyAsync(HttpClient http)
    {
        for (var i = 0; i < 100; i++)
        {
            if ((await http.GetStringAsync("/count")).EndsWith(":0}", StringComparison.Ordinal)) return true;
            await Task.Delay(100);
        }

        return false;
    }

    public void Dispose()
    {
        _process.Kill();
        _process.Dispose();
    }
}
