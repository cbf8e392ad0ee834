using System.Runtime.CompilerServices;
using System.Text.RegularExpressions;

namespace Broadcast.Recipes.Tests;

/// <summary>
/// Compares the Blazor component in docs/guides/readers.md with the compiled component. Another test compares the C# code of
/// all documents.
/// </summary>
public sealed partial class DocumentationTests
{
    [Fact]
    public void Readers_BlazorComponent_IsCompiledCode()
    {
        var markdown = File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "readers.md"));
        var block = Assert.Single(RazorBlock().Matches(markdown));
        var component = File.ReadAllText(Path.Combine(OwnFolder(), "Blazor", "Prices.razor"));
        Assert.Equal(component.ReplaceLineEndings("\n").Trim(), block.Groups[1].Value.Trim());
    }

    static string OwnFolder([CallerFilePath] string path = "") => Path.GetDirectoryName(path)!;

    [GeneratedRegex("```razor\n(.*?)```", RegexOptions.Singleline)]
    private static partial Regex RazorBlock();
}
