using System.Reflection;

namespace Broadcast.Packages.Tests;

/// <summary>The folder with the sources of this repository.</summary>
static class Repository
{
    public const string Url = "https://github.com/broadcast-middleware/broadcast-middleware";

    public static string Folder { get; } = Metadata("Repository");

    /// <summary>The configuration of this build, such as Release.</summary>
    public static string Configuration { get; } = Metadata("Configuration");

    public static string PathOf(params ReadOnlySpan<string> names) => Path.Combine([Folder, .. names]);

    public static string Read(params ReadOnlySpan<string> names) => File.ReadAllText(PathOf(names));

    static string Metadata(string key) => typeof(Repository).Assembly.GetCustomAttributes<AssemblyMetadataAttribute>()
        .Single(attribute => attribute.Key == key).Value!;
}
