using System.Reflection;
using System.Text.RegularExpressions;

namespace Broadcast.Middleware.Tests.Documentation;

/// <summary>
/// Tests that the compiled files of this folder and of the recipes contain all C# code of the documents. So the compiler
/// checks the documents, and tests can run the same code.
/// </summary>
public sealed partial class SnippetTests
{
    /// <summary>The folder of the repository.</summary>
    internal static readonly string Repository = typeof(SnippetTests).Assembly.GetCustomAttributes<AssemblyMetadataAttribute>()
        .Single(static attribute => attribute.Key == "RepositoryFolder").Value!;

    static readonly string[] Compiled =
    [
        .. new[] { "Broadcast.Middleware.Tests/Documentation", "Broadcast.Recipes.Tests/Grpc", "Broadcast.Recipes.Tests/Http", "Broadcast.Recipes.Tests/Services" }
            .SelectMany(static folder => Directory.EnumerateFiles(Path.Combine(Repository, "tests", folder), "*.cs", SearchOption.AllDirectories))
            .Select(static file => WithoutIndentation(File.ReadAllText(file))),
    ];

    public static TheoryData<string> Documents() =>
    [
        "README.md",
        "src/Broadcast.Middleware.Redis/README.md",
        .. Directory.EnumerateFiles(Path.Combine(Repository, "docs"), "*.md", SearchOption.AllDirectories)
            .Select(static file => Path.GetRelativePath(Repository, file).Replace('\\', '/')).Order(StringComparer.Ordinal),
    ];

    [Theory]
    [MemberData(nameof(Documents))]
    public void Document_CSharpBlocks_AreCompiledSnippets(string document)
    {
        var text = File.ReadAllText(Path.Combine(Repository, document));
        Assert.All(CSharpBlock().Matches(text).SelectMany(static block => PartsOf(block.Groups[1].Value)), static part =>
            Assert.True(
                Compiled.Any(file => file.Contains(part, StringComparison.Ordinal)),
                $"No file of the folder Documentation or of the recipes contains this code. Add the code to a file, so that the compiler checks it:\n{part}"));
    }

    [Fact]
    public void Readme_CSharpBlocks_AreFound() =>
        Assert.NotEmpty(CSharpBlock().Matches(File.ReadAllText(Path.Combine(Repository, "README.md"))));

    /// <summary>
    /// Splits a block before each line without indentation that follows an empty line. So a block can contain statements and a class.
    /// </summary>
    static IEnumerable<string> PartsOf(string block) => PartEnd().Split(block.Trim('\n')).Select(WithoutIndentation);

    static string WithoutIndentation(string code) => string.Join('\n', code.ReplaceLineEndings("\n").Split('\n').Select(static line => line.Trim())).Trim('\n');

    [GeneratedRegex("^ *```csharp\n(.*?)^ *```", RegexOptions.Singleline | RegexOptions.Multiline)]
    private static partial Regex CSharpBlock();

    [GeneratedRegex(@"\n\n(?=\S)")]
    private static partial Regex PartEnd();
}
