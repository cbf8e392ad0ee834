using System.Text.RegularExpressions;

namespace Broadcast.Middleware.Tests.Readme;

public sealed partial class ReadmeTests
{
    [Fact]
    public void Readme_CSharpBlocks_AreCompiledSnippets()
    {
        var compiled = WithoutIndentation(File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "Snippets.cs")));
        var blocks = CSharpBlock().Matches(File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "README.md")));
        Assert.NotEmpty(blocks);
        Assert.All(blocks, block => Assert.Contains(WithoutIndentation(block.Groups[1].Value), compiled, StringComparison.Ordinal));
    }

    [Fact]
    public void Readme_Options_AreAllListed()
    {
        var readme = File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "README.md"));
        Assert.All(typeof(BroadcastOptions).GetProperties(), option => Assert.Contains($"`{option.Name}`", readme, StringComparison.Ordinal));
    }

    static string WithoutIndentation(string code) => string.Join('\n', code.Split('\n').Select(line => line.Trim()));

    [GeneratedRegex("```csharp\n(.*?)```", RegexOptions.Singleline)]
    private static partial Regex CSharpBlock();
}
