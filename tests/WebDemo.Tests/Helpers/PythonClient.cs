using System.Diagnostics;
using System.Text;

namespace WebDemo.Tests;

/// <summary>Starts Python programs. The environment variable PYTHON selects the interpreter. The default is the system's Python.</summary>
static class PythonClient
{
    // On Debian, the package python3-websockets belongs to this interpreter.
    const string SystemPath = "/usr/bin/python3";

    static readonly string Path = Environment.GetEnvironmentVariable("PYTHON") ?? (File.Exists(SystemPath) ? SystemPath : "python3");

    /// <summary>Returns the reason why Python clients cannot run on this machine, or null if they can.</summary>
    public static async Task<string?> FindProblemAsync()
    {
        try
        {
            using var import = Start("-c", "import websockets");
            await import.WaitForExitAsync(TestContext.Current.CancellationToken);
            return import.ExitCode == 0 ? null : $"{Path} has no module websockets. On Debian, run apt install python3-websockets.";
        }
        catch (System.ComponentModel.Win32Exception exception)
        {
            return $"{Path} does not start: {exception.Message}. Install Python, or set PYTHON to its path.";
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
