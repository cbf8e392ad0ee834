using System.Text.RegularExpressions;

namespace Broadcast.Middleware.Redis.Diagnostics;

/// <summary>Removes the Redis password and the credentials of URLs from log messages.</summary>
/// <param name="password">
/// The password. Null if the connection has no password, or if the backplane does not know the password.
/// </param>
sealed partial class SecretFilter(string? password)
{
    const string Replacement = "***";

    readonly string? _escaped = password is null ? null : Uri.EscapeDataString(password);

    public string Filter(string text)
    {
        if (!string.IsNullOrEmpty(password))
        {
            text = text.Replace(password, Replacement, StringComparison.Ordinal)
                .Replace(_escaped!, Replacement, StringComparison.Ordinal);
        }

        return text.Contains("://", StringComparison.Ordinal)
            ? UrlCredentials().Replace(text, $"://{Replacement}@")
            : text;
    }

    [GeneratedRegex(@"://[^\s/@]*@", RegexOptions.CultureInvariant)]
    private static partial Regex UrlCredentials();
}
