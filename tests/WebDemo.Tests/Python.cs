using System.Diagnostics;
using System.Text;

namespace WebDemo.Tests;

/// <summary>
/// The Python that the environment variable PYTHON names, or the system's: on Debian, the one that python3-websockets is installed for.
/// </summary>
static class Python
{
    static readonly string Path =
        Environment.GetEnvironmentVariable("PYTHON") ?? (File.Exists("/usr/bin/python3") ? "/usr/bin/python3" : "python3");

    /// <summary>Null, or why the clients cannot run here.</summary>
    public static async Task<string?> ProblemAsync()
    {
        try
        {
            using var import = Start("-c", "import websockets");
            await import.WaitForExitAsync(TestContext.Current.CancellationToken);
            return import.ExitCode == 0 ? null : $"{Path} has no module websockets: on Debian, apt install python3-websockets.";
        }
        catch (System.ComponentModel.Win32Exception exception)
        {
            return $"{Path} does not start: {exception.Message}";
        }
    }

    public static Process Start(params string[] arguments) => Process.Start(new ProcessStartInfo(Path, arguments)
    {
        WorkingDirectory = AppContext.BaseDirectory,
        RedirectStandardInput = true,
        RedirectStandardOutput = true,
        RedirectStandardError = true,
        StandardInputEncoding = new UTF8Encoding(encoderShouldEmitUTF8Identifier: false),
        StandardOutputEncoding = Encoding.UTF8,
        Environment = { ["PYTHONIOENCODING"] = "utf-8" },
    })!;
}
