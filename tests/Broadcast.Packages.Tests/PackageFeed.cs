using System.IO.Compression;
using System.Xml.Linq;
using Broadcast.Packages.Tests;

[assembly: AssemblyFixture(typeof(PackageFeed))]

namespace Broadcast.Packages.Tests;

/// <summary>Packs all packages into a local feed. All tests share the packages and the home folder.</summary>
public sealed class PackageFeed : IAsyncLifetime
{
    public static readonly string[] Libraries =
    [
        "Broadcast.Middleware", "Broadcast.Middleware.Dashboard", "Broadcast.Middleware.OpenTelemetry", "Broadcast.Middleware.Redis",
        "Broadcast.Middleware.Testing",
    ];

    public const string Templates = "Broadcast.Middleware.Templates";

    readonly TemporaryFolder _folder = new();

    internal CommandLine CommandLine => field ??= new(_folder.PathOf("home"));

    /// <summary>The folder with the packages.</summary>
    public string Folder => _folder.PathOf("feed");

    /// <summary>The version of the packages.</summary>
    public string Version { get; private set; } = "";

    public async ValueTask InitializeAsync()
    {
        // NuGet reads this file for all projects in subfolders. The file adds the feed to the feeds of the user.
        await File.WriteAllTextAsync(
            _folder.PathOf("NuGet.Config"),
            $"""<configuration><packageSources><add key="packed" value="{Folder}" /></packageSources></configuration>""",
            TestContext.Current.CancellationToken);
        await CommandLine.DotnetAsync(
            Repository.Folder, "pack", Repository.PathOf("src", "Packages.slnf"), "--no-build", "-maxCpuCount:1",
            "--configuration", Repository.Configuration, "--output", Folder);
        Version = Metadata(Libraries[0]).Element("version")!.Value;
    }

    public ValueTask DisposeAsync()
    {
        _folder.Dispose();
        return default;
    }

    /// <summary>Creates an empty folder for an app that can use the feed.</summary>
    public string CreateFolder(string name) => Directory.CreateDirectory(_folder.PathOf("apps", name)).FullName;

    /// <summary>Opens a package. The extension is nupkg or snupkg.</summary>
    public ZipArchive Open(string id, string extension = "nupkg") => ZipFile.OpenRead(Find(id, extension));

    /// <summary>Reads the metadata of a package. The elements have no namespace.</summary>
    public XElement Metadata(string id) => ReadMetadata(Find(id, "nupkg"));

    /// <summary>Reads the metadata of a package file. The elements have no namespace.</summary>
    public static XElement ReadMetadata(string file)
    {
        using var package = ZipFile.OpenRead(file);
        using var stream = package.Entries.Single(entry => entry.Name.EndsWith(".nuspec", StringComparison.Ordinal)).Open();
        var nuspec = XDocument.Load(stream).Root!;
        foreach (var element in nuspec.DescendantsAndSelf()) element.Name = element.Name.LocalName;
        return nuspec.Element("metadata")!;
    }

    /// <summary>Reads a text file of a package.</summary>
    public string ReadText(string id, string name)
    {
        using var package = Open(id);
        using var reader = new StreamReader(package.GetEntry(name)!.Open());
        return reader.ReadToEnd();
    }

    string Find(string id, string extension) =>
        Directory.GetFiles(Folder, $"{id}.*.{extension}").Single(file => char.IsAsciiDigit(Path.GetFileName(file)[id.Length + 1]));
}
