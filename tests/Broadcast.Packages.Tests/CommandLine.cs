using System.Diagnostics;
using System.Text;

namespace Broadcast.Packages.Tests;

/// <summary>Runs programs with a separate home folder and package folder, so that the programs do not change the user's files.</summary>
/// <param name="home">The home folder.</param>
sealed class CommandLine(string home)
{
    /// <summary>A limit that only delays the failure of a test. A busy machine needs minutes to build an app.</summary>
    public static readonly TimeSpan Limit = TimeSpan.FromMinutes(5);

    static readonly string Dotnet = Environment.GetEnvironmentVariable("DOTNET_HOST_PATH") ?? "dotnet";

    /// <summary>Runs <c>dotnet</c> and returns its output.</summary>
    public Task<string> DotnetAsync(string folder, params IEnumerable<string> arguments) => RunAsync(Dotnet, folder, arguments);

    /// <summary>Runs <c>git</c> and returns its output.</summary>
    public Task<string> GitAsync(string folder, params IEnumerable<string> arguments) =>
        RunAsync("git", folder, ["-c", "user.name=test", "-c", "user.email=test@example.com", .. arguments]);

    /// <summary>Starts <c>dotnet</c>.</summary>
    public Process StartDotnet(string folder, params IEnumerable<string> arguments) => Start(Dotnet, folder, arguments);

    async Task<string> RunAsync(string program, string folder, IEnumerable<string> arguments)
    {
        using var process = Start(program, folder, arguments);
        var token = TestContext.Current.CancellationToken;
        var output = new StringBuilder();
        await Task.WhenAll(ReadAsync(process.StandardOutput), ReadAsync(process.StandardError), process.WaitForExitAsync(token))
            .WaitAsync(Limit, token);
        Assert.True(process.ExitCode == 0, $"'{program} {string.Join(' ', arguments)}' failed:\n{output}");
        return output.ToString();

        async Task ReadAsync(StreamReader reader)
        {
            while (await reader.ReadLineAsync(token) is { } line)
            {
                lock (output) output.AppendLine(line);
            }
        }
    }

    Process Start(string program, string folder, IEnumerable<string> arguments)
    {
        var start = new ProcessStartInfo(program, arguments)
        {
            WorkingDirectory = folder,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            Environment =
            {
                ["DOTNET_CLI_HOME"] = home,
                ["NUGET_PACKAGES"] = Path.Combine(home, "packages"),
                ["DOTNET_CLI_TELEMETRY_OPTOUT"] = "1",
                ["DOTNET_GENERATE_ASPNET_CERTIFICATE"] = "false",
                ["DOTNET_NOLOGO"] = "1",
                ["DOTNET_CLI_UI_LANGUAGE"] = "en",
                // A process that stays after the build would keep the files of the test open.
                ["MSBUILDDISABLENODEREUSE"] = "1",
                // These settings save CPU time. The tests do not need the warnings of the analyzers.
                ["RunAnalyzers"] = "false",
                ["DOTNET_TieredPGO"] = "0",
                ["DOTNET_gcServer"] = "0",
            },
        };
        // The test runner may have set variables for its own build. Remove these variables.
        foreach (var name in (string[])["MSBuildSDKsPath", "MSBUILD_EXE_PATH", "MSBuildExtensionsPath", "GITHUB_ACTIONS", "ASPNETCORE_URLS"])
            start.Environment.Remove(name);
        return Process.Start(start)!;
    }
}
