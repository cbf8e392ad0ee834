using System.Text.RegularExpressions;

namespace Broadcast.Middleware.Tests.Readme;

public sealed partial class ReadmeTests
{
    [Fact]
    public void Every_csharp_block_of_the_readme_is_code_that_compiles()
    {
        var compiled = WithoutIndentation(File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "Snippets.cs")));
        var blocks = CSharpBlock().Matches(File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "README.md")));
        Assert.NotEmpty(blocks);
        Assert.All(blocks, block => Assert.Contains(WithoutIndentation(block.Groups[1].Value), compiled, StringComparison.Ordinal));
    }

    [Fact]
    public void Every_option_stands_in_the_readme()
    {
        var readme = File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "README.md"));
        Assert.All(typeof(BroadcastOptions).GetProperties(), option => Assert.Contains($"`{option.Name}`", readme, StringComparison.Ordinal));
    }

    static string WithoutIndentation(string code) => string.Join('\n', code.Split('\n').Select(line => line.Trim()));

    [GeneratedRegex("```csharp\n(.*?)```", RegexOptions.Singleline)]
    private static partial Regex CSharpBlock();
}
