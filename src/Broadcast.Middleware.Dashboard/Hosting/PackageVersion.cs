using System.Reflection;
using Broadcast.Middleware.Hosting;

namespace Broadcast.Middleware.Dashboard.Hosting;

/// <summary>
/// Compares the versions of this package and of the library, because the dashboard uses internal parts of the library.
/// </summary>
static class PackageVersion
{
    /// <summary>The version of this package.</summary>
    public static string Text { get; } = VersionOf(typeof(PackageVersion).Assembly);

    /// <exception cref="InvalidOperationException">The versions differ.</exception>
    public static void ThrowIfDifferent()
    {
        var library = VersionOf(typeof(BroadcastInstance).Assembly);
        if (library == Text) return;
        throw new InvalidOperationException(
            $"Broadcast.Middleware has the version {library}, and Broadcast.Middleware.Dashboard has the version " +
            $"{Text}. Install the same version of both packages.");
    }

    /// <summary>Returns the package version without the commit, for example <c>1.2.0</c>.</summary>
    static string VersionOf(Assembly assembly) =>
        assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()!.InformationalVersion.Split('+')[0];
}
