using System.Text.RegularExpressions;
using System.Xml.Linq;

namespace Broadcast.Packages.Tests;

/// <summary>
/// Three new projects: an empty app with two added lines, an app from the template, and a package with the build settings of this
/// repository. One build for all projects needs half the CPU time of three builds.
/// </summary>
/// <param name="feed">Provides the packages.</param>
public sealed partial class NewProjects(PackageFeed feed) : IAsyncLifetime
{
    readonly TemporaryFolder _folder = new();

    internal SampleRepository Sample => field ??= new(feed.CommandLine, _folder.Path);

    /// <summary>The folder of an empty app with the two lines.</summary>
    public string NewApp { get; } = feed.CreateFolder("NewApp");

    /// <summary>The folder of an app from the template.</summary>
    public string TemplateApp { get; } = feed.CreateFolder("TemplateApp");

    static CancellationToken Token => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync()
    {
        await CreateNewAppAsync();
        await feed.CommandLine.DotnetAsync(TemplateApp, "new", "install", $"{PackageFeed.Templates}@{feed.Version}");
        await feed.CommandLine.DotnetAsync(TemplateApp, "new", "broadcast", "--no-restore");
        await Sample.CreateAsync();
        var solution = Path.Combine(Path.GetDirectoryName(NewApp)!, "All.slnx");
        var projects = new[] { NewApp, TemplateApp, Sample.Project }.Select(static folder => Directory.GetFiles(folder, "*.csproj").Single());
        await File.WriteAllTextAsync(
            solution, new XElement("Solution", projects.Select(static project => new XElement("Project", new XAttribute("Path", project)))).ToString(), Token);
        var output = await feed.CommandLine.DotnetAsync(
            _folder.Path, "build", solution, "-maxCpuCount:1", "--configuration", "Release", "-p:GITHUB_ACTIONS=true");
        Assert.DoesNotMatch(@"\bwarning [A-Z]+\d+", output);
    }

    public ValueTask DisposeAsync()
    {
        _folder.Dispose();
        return default;
    }

    async Task CreateNewAppAsync()
    {
        await feed.CommandLine.DotnetAsync(NewApp, "new", "web", "--no-restore");
        await AddPackagesAsync(Path.Combine(NewApp, "NewApp.csproj"));
        var file = Path.Combine(NewApp, "Program.cs");
        var program = await File.ReadAllTextAsync(file, Token);
        program = Insert(program, "builder.Services.AddBroadcast();", before: "var app");
        program = Insert(program, """app.MapBroadcast("/ws");""", before: "app.Run()");
        await File.WriteAllTextAsync(file, program, Token);
        await File.WriteAllTextAsync(Path.Combine(NewApp, "Readmes.cs"), CollectReadmeCode(), Token);
    }

    /// <summary>Adds the libraries, and the packages that the code of the READMEs needs. <c>dotnet add package</c> is slower.</summary>
    async Task AddPackagesAsync(string project)
    {
        var packages = PackageFeed.Libraries.ToDictionary(static library => library, _ => feed.Version);
        var versions = XDocument.Parse(Repository.Read("Directory.Packages.props")).Descendants("PackageVersion");
        foreach (var id in (string[])["OpenTelemetry.Extensions.Hosting", "OpenTelemetry.Exporter.OpenTelemetryProtocol"])
            packages[id] = versions.Single(version => version.Attribute("Include")!.Value == id).Attribute("Version")!.Value;
        var xml = XDocument.Load(project);
        xml.Root!.Add(new XElement("ItemGroup", packages.Select(static package => new XElement(
            "PackageReference", new XAttribute("Include", package.Key), new XAttribute("Version", package.Value)))));
        await File.WriteAllTextAsync(project, xml.ToString(), Token);
    }

    static string Insert(string program, string line, string before)
    {
        Assert.Single(Regex.Matches(program, Regex.Escape(before)));
        return program.Replace(before, $"{line}\n{before}", StringComparison.Ordinal);
    }

    /// <summary>Returns the C# code of all package READMEs, with one method for each block, after their using directives.</summary>
    string CollectReadmeCode()
    {
        string[] blocks = [.. PackageFeed.Libraries.SelectMany(library => CSharpBlock().Matches(feed.ReadText(library, "README.md")))
            .Select(static block => block.Groups[1].Value)];
        Assert.True(blocks.Length >= PackageFeed.Libraries.Length, "Each README has at least one block of C# code.");
        var directives = blocks.SelectMany(static block => UsingDirective().Matches(block)).Select(static directive => directive.Value);
        var methods = blocks.Select(static (block, index) =>
        {
            var result = block.Contains("await ", StringComparison.Ordinal) ? "async Task" : "void";
            return $"    {result} Block{index}()\n    {{\n{UsingDirective().Replace(block, "")}    }}\n";
        });
        return $$"""
            {{string.Concat(directives.Append("using Broadcast.Middleware;\n").Distinct())}}
            abstract class Readmes(WebApplicationBuilder builder, WebApplication app, string[] args)
            {
            {{string.Concat(methods)}}
            }

            // The READMEs use the assertions of a test framework. This class replaces them.
            namespace Xunit
            {
                static class Assert
                {
                    public static void Equal(string expected, string actual)
                    {
                        if (expected != actual) throw new InvalidOperationException($"{actual} is not {expected}.");
                    }
                }
            }
            """;
    }

    [GeneratedRegex(@"^using [\w.]+;\n", RegexOptions.Multiline)]
    private static partial Regex UsingDirective();

    [GeneratedRegex("```csharp\n(.*?)```", RegexOptions.Singleline)]
    private static partial Regex CSharpBlock();
}
