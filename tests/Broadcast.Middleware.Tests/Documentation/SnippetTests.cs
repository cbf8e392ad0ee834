using System.Reflection;
using System.Text.RegularExpressions;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;
using Microsoft.CodeAnalysis.Text;

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

    static readonly (string Text, SyntaxTree Tree)[] Compiled =
    [
        .. new[] { "Broadcast.Middleware.Tests/Documentation", "Broadcast.Recipes.Tests/Grpc", "Broadcast.Recipes.Tests/Http", "Broadcast.Recipes.Tests/Services" }
            .SelectMany(static folder => Directory.EnumerateFiles(Path.Combine(Repository, "tests", folder), "*.cs", SearchOption.AllDirectories))
            .Select(static file => File.ReadAllText(file)).Select(static source => (WithoutIndentation(source), Parse(source))),
    ];

    /// <summary>The namespaces that <c>dotnet new web</c> imports.</summary>
    static readonly string[] ImplicitNamespaces =
    [
        "System", "System.Collections.Generic", "System.IO", "System.Linq", "System.Net.Http", "System.Net.Http.Json", "System.Threading",
        "System.Threading.Tasks", "Microsoft.AspNetCore.Builder", "Microsoft.AspNetCore.Hosting", "Microsoft.AspNetCore.Http",
        "Microsoft.AspNetCore.Routing", "Microsoft.Extensions.Configuration", "Microsoft.Extensions.DependencyInjection",
        "Microsoft.Extensions.Hosting", "Microsoft.Extensions.Logging",
    ];

    /// <summary>The compilation of the code. All tests share the compilation, because compiling takes seconds.</summary>
    static readonly Lazy<CSharpCompilation> Compilation = new(Compile);

    public static TheoryData<string> Documents() =>
    [
        "README.md",
        .. new[] { "docs", "src" }
            .SelectMany(static folder => Directory.EnumerateFiles(Path.Combine(Repository, folder), "*.md", SearchOption.AllDirectories))
            .Select(static file => Path.GetRelativePath(Repository, file).Replace('\\', '/')).Order(StringComparer.Ordinal),
    ];

    [Theory]
    [MemberData(nameof(Documents))]
    public void Document_CSharpBlocks_AreCompiledSnippets(string document) =>
        Assert.All(PartsOf(Read(document)), static part =>
            Assert.True(
                Compiled.Any(file => file.Text.Contains(part, StringComparison.Ordinal)),
                $"No file of the folder Documentation or of the recipes contains this code. Add the code to a file, so that the compiler checks it:\n{part}"));

    /// <summary>A reader can paste the code into a new app: the document names the namespaces that the app does not import.</summary>
    [Theory]
    [MemberData(nameof(Documents))]
    public void Document_CSharpBlocks_NamespacesAreNamed(string document)
    {
        var text = Read(document);
        Assert.All(PartsOf(text).SelectMany(FindNamespaces).Except(ImplicitNamespaces), name => Assert.Contains($"using {name};", text));
    }

    [Fact]
    public void Readme_CSharpBlocks_AreFound() => Assert.NotEmpty(PartsOf(Read("README.md")));

    static string Read(string document) => File.ReadAllText(Path.Combine(Repository, document));

    /// <summary>
    /// Returns the C# code of a document without using directives. Splits a block before each line without indentation
    /// that follows an empty line. So a block can contain statements and a class.
    /// </summary>
    static IEnumerable<string> PartsOf(string document) =>
        from block in CSharpBlock().Matches(document)
        from part in PartEnd().Split(UsingDirective().Replace(block.Groups[1].Value, "").Trim('\n'))
        where part.Length > 0
        select WithoutIndentation(part);

    static string WithoutIndentation(string code) => string.Join('\n', code.ReplaceLineEndings("\n").Split('\n').Select(static line => line.Trim())).Trim('\n');

    /// <summary>Returns the namespaces of the types and extension methods that the code uses.</summary>
    static IEnumerable<string> FindNamespaces(string code)
    {
        var (text, tree) = Compiled.First(file => file.Text.Contains(code, StringComparison.Ordinal));
        var first = text.AsSpan(0, text.IndexOf(code, StringComparison.Ordinal)).Count('\n');
        var lines = tree.GetText().Lines;
        var span = TextSpan.FromBounds(lines[first].Start, lines[first + code.AsSpan().Count('\n')].End);
        var (model, root) = (Compilation.Value.GetSemanticModel(tree), tree.GetCompilationUnitRoot());
        // This project does not reference all packages of the recipes. All code of a file needs the unknown namespaces of the file.
        var unknown = root.Usings.Select(static directive => directive.Name!).Where(name => model.GetSymbolInfo(name).Symbol is null);
        var names = root.DescendantNodes().OfType<SimpleNameSyntax>().Where(name => span.Contains(name.Span) && !name.IsVar);
        return [.. unknown.Select(static name => name.ToString()), .. names.Select(name => FindNamespace(model, name)).OfType<string>()];
    }

    static string? FindNamespace(SemanticModel model, SimpleNameSyntax name)
    {
        var info = model.GetSymbolInfo(name);
        var symbol = info.Symbol ?? info.CandidateSymbols.FirstOrDefault();
        var isQualified = name.Parent is QualifiedNameSyntax { Right: var right } && right == name;
        var type = symbol switch
        {
            IMethodSymbol { ReducedFrom: not null } => symbol.ContainingType,
            IMethodSymbol { MethodKind: MethodKind.Constructor } when !isQualified => symbol.ContainingType,    // of an attribute
            INamedTypeSymbol named when !isQualified => named,
            _ => null,
        };
        return type is { IsAnonymousType: false, DeclaringSyntaxReferences.IsEmpty: true } ? type.ContainingNamespace.ToString() : null;
    }

    static SyntaxTree Parse(string source) => CSharpSyntaxTree.ParseText(source, new CSharpParseOptions(LanguageVersion.Preview));

    static CSharpCompilation Compile()
    {
        var namespaces = ImplicitNamespaces.Concat(["Broadcast.Middleware.Testing", "Xunit"]);
        var assemblies = ((string)AppContext.GetData("TRUSTED_PLATFORM_ASSEMBLIES")!).Split(Path.PathSeparator);
        return CSharpCompilation.Create(
            "Snippets",
            [Parse(string.Concat(namespaces.Select(static name => $"global using {name};"))), .. Compiled.Select(static file => file.Tree)],
            assemblies.Select(static path => MetadataReference.CreateFromFile(path)),
            new CSharpCompilationOptions(OutputKind.DynamicallyLinkedLibrary, concurrentBuild: false));
    }

    [GeneratedRegex("^ *```csharp\n(.*?)^ *```", RegexOptions.Singleline | RegexOptions.Multiline)]
    private static partial Regex CSharpBlock();

    [GeneratedRegex(@"\n\n(?=\S)")]
    private static partial Regex PartEnd();

    [GeneratedRegex(@"^using [\w.]+;\n", RegexOptions.Multiline)]
    private static partial Regex UsingDirective();
}
