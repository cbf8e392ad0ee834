using System.Reflection;
using System.Text.RegularExpressions;

namespace WebDemo.Tests;

/// <summary>Reads the source files of the demo, and the references of the drawers to these files.</summary>
static partial class DemoSource
{
    static readonly string Folder = typeof(DemoSource).Assembly.GetCustomAttributes<AssemblyMetadataAttribute>()
        .Single(static attribute => attribute.Key == "DemoFolder").Value!;

    /// <summary>The file names of all pages.</summary>
    public static IEnumerable<string> Pages { get; } =
        [.. Directory.GetFiles(Path.Combine(Folder, "wwwroot"), "*.html").Select(static path => Path.GetFileName(path)).Order(StringComparer.Ordinal)];

    /// <summary>The C# files of the demo, without Program.cs, which maps all pages.</summary>
    public static IEnumerable<string> CodeFiles { get; } =
    [
        .. new[] { Folder, Path.Combine(Folder, "Pages") }.SelectMany(static folder => Directory.GetFiles(folder, "*.cs"))
            .Where(static path => Path.GetFileName(path) != "Program.cs"),
    ];

    /// <summary>
    /// Returns the lines that the drawer of a page shows for "server" or "client". Lines have no indentation. If the drawer shows several
    /// files, a comment with the name of the file precedes the lines of each file.
    /// </summary>
    public static string[] GetShownLines(string page, string side)
    {
        var html = File.ReadAllText(Path.Combine(Folder, "wwwroot", page));
        var references = Regex.Match(html, $"data-{side}=\"([^\"]+)\"");
        Assert.True(references.Success, $"{page} has no attribute data-{side}.");
        var sources = references.Groups[1].Value.Split(' ');
        return [.. sources.SelectMany(source => sources.Length > 1 ? GetRegion(source).Prepend($"// {source.Split('#')[0]}") : GetRegion(source))];
    }

    /// <summary>Returns the lines of a region, for example "Game.cs#steer".</summary>
    static List<string> GetRegion(string source)
    {
        var (file, region) = (source.Split('#')[0], source.Split('#')[1]);
        var lines = File.ReadAllLines(Find(file));
        var shown = new List<string>();
        for (var i = 0; i < lines.Length; i++)
        {
            if (!Regex.IsMatch(lines[i], $@"^\s*(// )?#region {region}$")) continue;
            while (!RegionEnd().IsMatch(lines[++i])) shown.Add(lines[i].Trim());
        }

        shown.RemoveAll(static line => line == "");
        Assert.NotEmpty(shown);
        return shown;
    }

    /// <summary>Returns the path of a source file.</summary>
    public static string Find(string file) =>
        new[] { "", "Pages", "wwwroot" }.Select(folder => Path.Combine(Folder, folder, file)).First(File.Exists);

    /// <summary>Returns whether a source file contains the name of the type of another file.</summary>
    public static bool UsesTypeOf(string user, string file) =>
        Regex.IsMatch(File.ReadAllText(Find(user)), $@"\b{Path.GetFileNameWithoutExtension(file)}\b");

    /// <summary>Counts the lines of code, without blank lines, comments, usings and the namespace.</summary>
    public static int CountCodeLines(string path) => File.ReadLines(path).Count(static line => !NoCode().IsMatch(line));

    [GeneratedRegex(@"^\s*(// )?#endregion")]
    private static partial Regex RegionEnd();

    [GeneratedRegex(@"^\s*(//.*|#.*)?$|^(using|namespace) ")]
    private static partial Regex NoCode();
}
