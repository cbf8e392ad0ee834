namespace Broadcast.Packages.Tests;

/// <summary>A folder that a test deletes at its end.</summary>
sealed class TemporaryFolder : IDisposable
{
    public string Path { get; } = Directory.CreateTempSubdirectory("broadcast-packages-").FullName;

    public string PathOf(params ReadOnlySpan<string> names) => System.IO.Path.Combine([Path, .. names]);

    public void Dispose()
    {
        // Git makes its objects read-only. Windows does not delete read-only files.
        foreach (var file in Directory.EnumerateFiles(Path, "*", SearchOption.AllDirectories)) File.SetAttributes(file, FileAttributes.Normal);
        Directory.Delete(Path, recursive: true);
    }
}
