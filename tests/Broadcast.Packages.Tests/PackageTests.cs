using System.Reflection.Metadata;
using System.Reflection.PortableExecutable;
using System.Text;
using System.Text.RegularExpressions;

namespace Broadcast.Packages.Tests;

/// <summary>Tests the content and the metadata of the packages.</summary>
public sealed partial class PackageTests(PackageFeed feed)
{
    public static TheoryData<string> Libraries => [.. PackageFeed.Libraries];

    public static TheoryData<string> Packages => [.. PackageFeed.Libraries, PackageFeed.Templates];

    [Theory]
    [MemberData(nameof(Packages))]
    public void Package_Metadata_HasExpectedValues(string id)
    {
        var metadata = feed.Metadata(id);

        string Text(string name) => metadata.Element(name)?.Value ?? "";
        Assert.Equal(feed.Version, Text("version"));
        Assert.Equal("MIT", Text("license"));
        Assert.Equal("icon.png", Text("icon"));
        Assert.Equal("README.md", Text("readme"));
        Assert.Equal(Repository.Url, Text("projectUrl"));
        Assert.Contains("websocket", Text("tags"), StringComparison.Ordinal);
        Assert.NotEmpty(Text("authors"));
        Assert.NotEmpty(Text("copyright"));
        Assert.InRange(Text("description").Length, 40, 300);
        var repository = metadata.Element("repository")!;
        Assert.Equal("git", repository.Attribute("type")?.Value);
        Assert.Equal(Repository.Url + ".git", repository.Attribute("url")?.Value);
    }

    [Theory]
    [MemberData(nameof(Packages))]
    public void Package_ReleaseNotes_AreSectionOfChangelog(string id)
    {
        var notes = Normalize(feed.Metadata(id).Element("releaseNotes")!.Value);

        Assert.StartsWith("### ", notes, StringComparison.Ordinal);
        Assert.Contains(notes, Normalize(Repository.Read("CHANGELOG.md")), StringComparison.Ordinal);
        Assert.DoesNotContain("\n## ", notes, StringComparison.Ordinal);
        // nuget.org accepts at most this number of characters.
        Assert.InRange(notes.Length, 1, 35_000);

        static string Normalize(string text) => text.ReplaceLineEndings("\n");
    }

    [Theory]
    [MemberData(nameof(Packages))]
    public void Package_Icon_IsPngOf128Pixels(string id)
    {
        using var package = feed.Open(id);
        using var stream = package.GetEntry("icon.png")!.Open();
        var header = new byte[24];
        stream.ReadExactly(header);

        Assert.Equal("\u0089PNG\r\n\u001a\n", Encoding.Latin1.GetString(header, 0, 8));
        Assert.Equal([0, 0, 0, 128, 0, 0, 0, 128], header[16..24]);
    }

    [Theory]
    [MemberData(nameof(Libraries))]
    public void Library_Files_AreAssemblyAndDocumentation(string id)
    {
        using var package = feed.Open(id);

        var files = package.Entries.Select(static entry => entry.FullName).Where(static name => name.StartsWith("lib/", StringComparison.Ordinal));
        Assert.Equal([$"lib/net10.0/{id}.dll", $"lib/net10.0/{id}.xml"], files.Order());
        Assert.Contains("<summary>", feed.ReadText(id, $"lib/net10.0/{id}.xml"), StringComparison.Ordinal);
    }

    [Theory]
    [MemberData(nameof(Libraries))]
    public void Library_Symbols_BelongToAssembly(string id)
    {
        using var package = feed.Open(id);
        using var symbols = feed.Open(id, "snupkg");
        using var assembly = new PEReader(Read(package, $"lib/net10.0/{id}.dll"));
        using var pdb = MetadataReaderProvider.FromPortablePdbStream(Read(symbols, $"lib/net10.0/{id}.pdb"));

        var debug = assembly.ReadDebugDirectory().Single(static entry => entry.Type == DebugDirectoryEntryType.CodeView);
        var expected = assembly.ReadCodeViewDebugDirectoryData(debug).Guid;
        Assert.Equal(expected, new BlobContentId(pdb.GetMetadataReader().DebugMetadataHeader!.Id).Guid);
        Assert.Contains(assembly.ReadDebugDirectory(), static entry => entry.Type == DebugDirectoryEntryType.Reproducible);

        static MemoryStream Read(System.IO.Compression.ZipArchive archive, string name)
        {
            using var stream = archive.GetEntry(name)!.Open();
            var copy = new MemoryStream();
            stream.CopyTo(copy);
            copy.Position = 0;
            return copy;
        }
    }

    [Theory]
    [InlineData("Broadcast.Middleware")]
    [InlineData("Broadcast.Middleware.Dashboard", "Broadcast.Middleware")]
    [InlineData("Broadcast.Middleware.OpenTelemetry", "OpenTelemetry.Api")]
    [InlineData("Broadcast.Middleware.Redis", "Broadcast.Middleware", "StackExchange.Redis")]
    [InlineData("Broadcast.Middleware.Templates")]
    [InlineData("Broadcast.Middleware.Testing", "Broadcast.Middleware", "Microsoft.Extensions.TimeProvider.Testing")]
    public void Package_Dependencies_MatchExpectedList(string id, params string[] expected)
    {
        var dependencies = feed.Metadata(id).Descendants("dependency").ToArray();

        Assert.Equal(expected, dependencies.Select(static dependency => dependency.Attribute("id")!.Value).Order());
        // Each package must depend on Broadcast.Middleware of the same release.
        Assert.All(
            dependencies.Where(static dependency => dependency.Attribute("id")!.Value == "Broadcast.Middleware"),
            dependency => Assert.Equal(feed.Version, dependency.Attribute("version")!.Value));
    }

    [Theory]
    [MemberData(nameof(Packages))]
    public void PackageReadme_Links_AreAbsoluteAndExist(string id)
    {
        var readme = feed.ReadText(id, "README.md");
        var links = Link().Matches(readme).Select(static match => match.Groups[1].Value).ToArray();

        Assert.NotEmpty(links);
        Assert.All(links, static link => Assert.StartsWith("https://", link, StringComparison.Ordinal));
        const string Files = $"{Repository.Url}/blob/main/";
        foreach (var link in links.Where(static link => link.StartsWith(Repository.Url, StringComparison.Ordinal)))
        {
            Assert.StartsWith(Files, link, StringComparison.Ordinal);
            Assert.True(File.Exists(FileOf(link)), $"{link} does not exist.");
        }

        foreach (var link in links.Where(static link => link.StartsWith("https://www.nuget.org/packages/", StringComparison.Ordinal)))
            Assert.Contains(link.Split('/')[^1], PackageFeed.Libraries.Append(PackageFeed.Templates));

        static string FileOf(string link) => Repository.PathOf(link[Files.Length..].Split('#')[0].Split('/'));
    }

    [Fact]
    public void Template_Version_IsVersionOfPackages() => Assert.Contains(
        $"""<PackageReference Include="Broadcast.Middleware" Version="{feed.Version}" />""",
        feed.ReadText(PackageFeed.Templates, "content/broadcast/BroadcastApp.csproj"),
        StringComparison.Ordinal);

    [GeneratedRegex(@"\]\(([^)]+)\)")]
    private static partial Regex Link();
}
