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

    /// <summary>Returns the lines that the drawer of a page shows for "server" or "client". Lines have no indentation.</summary>
    public static string[] GetShownLines(string page, string side)
    {
        var html = File.ReadAllText(Path.Combine(Folder, "wwwroot", page));
        var reference = Regex.Match(html, $"data-{side}=\"([^\"]+)#([^\"]+)\"");
        Assert.True(reference.Success, $"{page} has no attribute data-{side}.");
        var (file, region) = (reference.Groups[1].Value, reference.Groups[2].Value);
        var path = (string[])[Path.Combine(Folder, file), Path.Combine(Folder, "Pages", file), Path.Combine(Folder, "wwwroot", file)];
        var lines = File.ReadAllLines(path.First(File.Exists));
        var shown = new List<string>();
        for (var i = 0; i < lines.Length; i++)
        {
            if (!Regex.IsMatch(lines[i], $@"^\s*(// )?#region {region}$")) continue;
            while (!RegionEnd().IsMatch(lines[++i])) shown.Add(lines[i].Trim());
        }

        return [.. shown.Where(static line => line != "")];
    }

    /// <summary>Counts the lines of code, without blank lines, comments, usings and the namespace.</summary>
    public static int CountCodeLines(string path) => File.ReadLines(path).Count(static line => !NoCode().IsMatch(line));

    [GeneratedRegex(@"^\s*(// )?#endregion")]
    private static partial Regex RegionEnd();

    [GeneratedRegex(@"^\s*(//.*|#.*)?$|^(using|namespace) ")]
    private static partial Regex NoCode();
}
