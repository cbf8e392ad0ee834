namespace Broadcast.Packages.Tests;

/// <summary>
/// A small repository with one package and the build settings of this repository. A clone contains only the newest commit, as on a build
/// server. The commit has the tag of version 1.2.0.
/// </summary>
/// <param name="commandLine">Runs Git.</param>
/// <param name="folder">The folder of the repository and its clone.</param>
sealed class SampleRepository(CommandLine commandLine, string folder)
{
    const string Changelog = """
        # Changelog

        ## Unreleased

        ### Added

        - Later.

        ## 1.2.0 (2026-11-01)

        ### Added

        - A `feature`.

        ## 1.1.0

        ### Added

        - Earlier.
        """;

    static readonly string[] Settings =
    [
        "Directory.Build.props", "Directory.Packages.props", "global.json", ".gitignore",
        "src/Directory.Build.props", "src/Directory.Build.targets", "src/icon.png",
    ];

    /// <summary>The folder of the clone.</summary>
    public string Clone { get; } = Path.Combine(folder, "clone");

    /// <summary>The folder of the project in the clone.</summary>
    public string Project => Path.Combine(Clone, "src", "Sample");

    /// <summary>The hash of the newest commit.</summary>
    public string Commit { get; private set; } = "";

    public async Task CreateAsync()
    {
        var origin = Path.Combine(folder, "origin");
        Directory.CreateDirectory(Path.Combine(origin, "src", "Sample"));
        foreach (var file in Settings) File.Copy(Repository.PathOf(file.Split('/')), Path.Combine([origin, .. file.Split('/')]));
        await WriteAsync("CHANGELOG.md", Changelog);
        await WriteAsync("src/Sample/README.md", "# Sample\n");
        await WriteAsync("src/Sample/Sample.cs", "/// <summary>A sample.</summary>\npublic static class Sample;\n");
        await WriteAsync("src/Sample/Sample.csproj", """
            <Project Sdk="Microsoft.NET.Sdk">
              <PropertyGroup>
                <Description>A sample.</Description>
                <GeneratePackageOnBuild>true</GeneratePackageOnBuild>
              </PropertyGroup>
            </Project>
            """);
        await commandLine.GitAsync(origin, "init", "--quiet", "--initial-branch", "main");
        foreach (var message in (string[])["First", "Second"])
        {
            await commandLine.GitAsync(origin, "add", "--all");
            await commandLine.GitAsync(origin, "commit", "--quiet", "--allow-empty", "--message", message);
        }

        await commandLine.GitAsync(origin, "tag", "v1.2.0");
        await commandLine.GitAsync(folder, "clone", "--quiet", "--depth", "1", "--branch", "v1.2.0", new Uri(origin).AbsoluteUri, Clone);
        await commandLine.GitAsync(Clone, "remote", "set-url", "origin", Repository.Url + ".git");
        Commit = (await commandLine.GitAsync(Clone, "rev-parse", "HEAD")).Trim();

        Task WriteAsync(string file, string text) =>
            File.WriteAllTextAsync(Path.Combine([origin, .. file.Split('/')]), text, TestContext.Current.CancellationToken);
    }
}
