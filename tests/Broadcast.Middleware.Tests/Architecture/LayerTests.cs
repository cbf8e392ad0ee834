using System.Runtime.CompilerServices;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;

namespace Broadcast.Middleware.Tests.Architecture;

/// <summary>Tests that each folder of the library depends only on folders in lower layers.</summary>
public sealed class LayerTests
{
    /// <summary>The folders of the library, from the lowest layer to the highest.</summary>
    static readonly string[] _layers =
    [
        "Diagnostics", "Compression", "Transports", "Messages", "Options", "Logs", "Delivery", "Connections", "Publishing", "Filters",
        "Presence", "Protocols", "Clustering", "Http", "Hosting",
    ];

    /// <summary>The folder of a name that the compiler cannot resolve. A dependency on this folder is an error.</summary>
    const string Unknown = "unknown";

    static readonly string _root = Path.GetFullPath(Path.Combine(OwnFolder(), "../../../src/Broadcast.Middleware"));

    [Fact]
    public void LibraryFolders_InSource_MatchLayerList()
    {
        var folders = Directory.GetDirectories(_root).Select(Path.GetFileName).Where(name => name is not ("bin" or "obj"));
        Assert.Equal(_layers.Order(StringComparer.Ordinal), folders.Order(StringComparer.Ordinal)!);
    }

    /// <summary>
    /// Public types are in the namespace of the package, so that an app needs only one using directive. Methods that extend an
    /// interface of ASP.NET Core are in the namespace of that interface.
    /// </summary>
    [Fact]
    public void LibraryNamespaces_InSource_EqualFolders() => Assert.All(SourceFiles, static tree =>
    {
        var root = tree.GetCompilationUnitRoot(TestContext.Current.CancellationToken);
        var space = Assert.Single(root.Members.OfType<BaseNamespaceDeclarationSyntax>());
        var (name, folder) = (space.Name.ToString(), FolderOf(tree.FilePath));
        var isPublic = space.Members.Any(static member => member.Modifiers.Any(SyntaxKind.PublicKeyword));
        if (isPublic && folder == "Hosting" && name.StartsWith("Microsoft.", StringComparison.Ordinal)) return;
        Assert.Equal((tree.FilePath, isPublic ? "Broadcast.Middleware" : $"Broadcast.Middleware.{folder}"), (tree.FilePath, name));
    });

    /// <summary>The compilation of the library. All tests share the compilation, because compiling takes seconds.</summary>
    static readonly Lazy<CSharpCompilation> _library = new(Compile);

    static IEnumerable<SyntaxTree> SourceFiles => _library.Value.SyntaxTrees.Where(static tree => tree.FilePath.Length > 0);

    [Fact]
    public void LibraryTypes_AnyFolder_DependOnlyOnLowerLayers()
    {
        var dependencies = FindDependencies(_library.Value, SourceFiles);
        // These two dependencies exist by design. If the search does not find them, the search is wrong.
        Assert.Contains(dependencies, dependency => dependency is { From: "Hosting", To: "Http" });
        Assert.Contains(dependencies, dependency => dependency is { From: "Logs", To: "Messages" });
        var forbidden = dependencies.Where(static dependency => Level(dependency.From) < Level(dependency.To));
        Assert.Empty(forbidden);
    }

    [Theory]
    [InlineData("sealed class Probe { Pump? _pump; }", "Logs", "Delivery")]
    [InlineData("sealed class Probe { object Name() => typeof(Http.BroadcastEndpoint); }", "Connections", "Http")]
    [InlineData("sealed class Probe : IBroadcastFilter;", "Messages", "Filters")]
    [InlineData("sealed class Probe { Pump? _pump; }", "", "Delivery")]
    [InlineData("sealed class Probe { Missing? _missing; }", "Hosting", Unknown)]
    public void FindDependencies_TypeOfHigherLayer_IsReported(string code, string from, string to)
    {
        var probe = Parse($"using Broadcast.Middleware.Delivery; namespace Broadcast.Middleware; {code}", Path.Combine(from, "Probe.cs"));
        var dependencies = FindDependencies(_library.Value.AddSyntaxTrees(probe), [probe]);
        var dependency = Assert.Single(dependencies, dependency => dependency.From == from && dependency.To == to);
        Assert.True(Level(dependency.From) < Level(dependency.To));
    }

    /// <summary>Returns the layer of a folder. A file outside of the folders may use no folder, so its layer is the lowest.</summary>
    static int Level(string folder) => folder == Unknown ? _layers.Length : Array.IndexOf(_layers, folder);

    static IEnumerable<(string Path, string Text)> ReadSources() =>
        from file in Directory.EnumerateFiles(_root, "*.cs", SearchOption.AllDirectories)
        let path = Path.GetRelativePath(_root, file).Replace('\\', '/')
        where FolderOf(path) is not ("bin" or "obj")
        select (path, File.ReadAllText(file));

    static SyntaxTree Parse(string text, string path) =>
        CSharpSyntaxTree.ParseText(text, new CSharpParseOptions(LanguageVersion.Preview), path, cancellationToken: TestContext.Current.CancellationToken);

    static CSharpCompilation Compile()
    {
        const string ImplicitUsings = """
            global using System; global using System.Collections.Generic; global using System.IO; global using System.Linq;
            global using System.Net.Http; global using System.Threading; global using System.Threading.Tasks;
            """;
        var platform = ((string)AppContext.GetData("TRUSTED_PLATFORM_ASSEMBLIES")!).Split(Path.PathSeparator)
            .Where(path => !Path.GetFileName(path).StartsWith("Broadcast.", StringComparison.Ordinal));
        return CSharpCompilation.Create(
            "Layers",
            [Parse(ImplicitUsings, ""), .. ReadSources().Select(source => Parse(source.Text, source.Path))],
            platform.Select(path => MetadataReference.CreateFromFile(path)),
            new CSharpCompilationOptions(OutputKind.DynamicallyLinkedLibrary, allowUnsafe: true, concurrentBuild: false));
    }

    /// <summary>Returns each use of a type from another folder, and each name that the compiler cannot resolve.</summary>
    static HashSet<Dependency> FindDependencies(CSharpCompilation compilation, IEnumerable<SyntaxTree> files)
    {
        var token = TestContext.Current.CancellationToken;
        var dependencies = new HashSet<Dependency>();
        foreach (var tree in files)
        {
            var model = compilation.GetSemanticModel(tree);
            foreach (var name in tree.GetRoot(token).DescendantNodes().OfType<SimpleNameSyntax>())
            {
                var info = model.GetSymbolInfo(name, token);
                // The argument of nameof can be a method with overloads.
                var symbol = info.Symbol ?? info.CandidateSymbols.FirstOrDefault();
                if (symbol is null && name.Identifier.Text is not ("nameof" or "notnull"))
                    dependencies.Add(new(tree.FilePath, FolderOf(tree.FilePath), Unknown, name.ToString()));
                var type = symbol as INamedTypeSymbol ?? symbol?.ContainingType;
                var path = type?.DeclaringSyntaxReferences.FirstOrDefault()?.SyntaxTree.FilePath;
                if (path is { Length: > 0 } && FolderOf(path) != FolderOf(tree.FilePath))
                    dependencies.Add(new(tree.FilePath, FolderOf(tree.FilePath), FolderOf(path), type!.Name));
            }
        }

        return dependencies;
    }

    /// <summary>Returns the folder of a file. Empty for a file that is in no folder.</summary>
    static string FolderOf(string path) => path[..Math.Max(0, path.IndexOf('/', StringComparison.Ordinal))];

    static string OwnFolder([CallerFilePath] string path = "") => Path.GetDirectoryName(path)!;

    readonly record struct Dependency(string File, string From, string To, string Type);
}
