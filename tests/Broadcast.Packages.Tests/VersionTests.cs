using System.Reflection.Metadata;
using System.Text;
using System.Text.Json;

namespace Broadcast.Packages.Tests;

/// <summary>Tests the shared build settings of the packages, in a small repository with one package.</summary>
[Collection(nameof(NewProjectsCollection))]
public sealed class VersionTests(PackageFeed feed, NewProjects projects)
{
    readonly SampleRepository _sample = projects.Sample;

    [Fact]
    public void Package_BuiltFromTag_HasVersionAndReleaseNotes()
    {
        var metadata = PackageFeed.ReadMetadata(Path.Combine(_sample.Project, "bin", "Release", "Sample.1.2.0.nupkg"));

        Assert.Equal("1.2.0", metadata.Element("version")!.Value);
        Assert.Equal("### Added\n\n- A `feature`.", metadata.Element("releaseNotes")!.Value.ReplaceLineEndings("\n"));
        Assert.Equal(_sample.Commit, metadata.Element("repository")!.Attribute("commit")?.Value);
    }

    [Fact]
    public void Symbols_BuiltOnServer_HaveSourceLinkAndNoLocalPaths()
    {
        var (documents, sourceLink) = ReadSymbols(Path.Combine(_sample.Project, "obj", "Release", "net10.0", "Sample.pdb"));

        Assert.Contains("/_/src/Sample/Sample.cs", documents);
        Assert.DoesNotContain(documents, document => document.Contains(_sample.Clone, StringComparison.Ordinal));
        Assert.Contains(
            $"https://raw.githubusercontent.com/broadcast-middleware/broadcast-middleware/{_sample.Commit}/*", sourceLink, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Version_WithoutTagOrRepository_IsPrerelease()
    {
        await feed.CommandLine.GitAsync(_sample.Clone, "tag", "--delete", "v1.2.0");
        await AssertPrereleaseAsync();

        // Move the .git folder to simulate a copy of the sources without a repository.
        new DirectoryInfo(Path.Combine(_sample.Clone, ".git")).MoveTo(_sample.Clone + "-git");
        await AssertPrereleaseAsync();

        async Task AssertPrereleaseAsync()
        {
            var output = await feed.CommandLine.DotnetAsync(
                _sample.Project, "msbuild", "-target:SetReleaseNotes", "-getProperty:PackageVersion", "-getProperty:PackageReleaseNotes");
            var properties = JsonDocument.Parse(output).RootElement.GetProperty("Properties");
            Assert.Equal("0.1.0-alpha.0", properties.GetProperty("PackageVersion").GetString());
            Assert.Equal("### Added\n\n- Later.", properties.GetProperty("PackageReleaseNotes").GetString()!.ReplaceLineEndings("\n"));
        }
    }

    /// <summary>Returns the paths of the source files, and the URLs of Source Link.</summary>
    static (string[] Documents, string SourceLink) ReadSymbols(string file)
    {
        var sourceLinkKind = new Guid("CC110556-A091-4D38-9FEC-25AB9A351A6A");
        using var provider = MetadataReaderProvider.FromPortablePdbStream(File.OpenRead(file));
        var reader = provider.GetMetadataReader();
        var links = reader.CustomDebugInformation.Select(reader.GetCustomDebugInformation)
            .Where(information => reader.GetGuid(information.Kind) == sourceLinkKind)
            .Select(information => Encoding.UTF8.GetString(reader.GetBlobBytes(information.Value)));
        return ([.. reader.Documents.Select(document => reader.GetString(reader.GetDocument(document).Name))], Assert.Single(links));
    }
}
