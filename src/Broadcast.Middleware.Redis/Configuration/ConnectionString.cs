using System.Globalization;
using System.Text.RegularExpressions;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Configuration;

/// <summary>
/// Parses the connection string: the format of StackExchange.Redis, or a URL such as
/// <c>rediss://user:password@host:6380/0</c>.
/// </summary>
/// <remarks>Invariant: no error contains a part of the connection string, because any part may be a password.</remarks>
static partial class ConnectionString
{
    /// <summary>
    /// The settings that detect a lost connection early. StackExchange.Redis closes a silent connection after four
    /// timeouts. With this timeout, StackExchange.Redis closes the connection before other nodes consider this node
    /// dead. The node can then repeat an operation safely, because all operations of the backplane are idempotent. The
    /// settings of the app follow these defaults and take precedence.
    /// </summary>
    const string Defaults = "syncTimeout=1500,keepAlive=4";

    const int DefaultPort = 6379;

    /// <exception cref="FormatException">
    /// The connection string is invalid. The exception message names the fix.
    /// </exception>
    public static ConfigurationOptions Parse(string? text)
    {
        if (string.IsNullOrWhiteSpace(text)) throw NoServer();
        var options = Scheme().Match(text) is { Success: true } scheme
            ? ParseUrl(text.Trim(), scheme.Groups[1].Value)
            : ParseList(text);
        return options.EndPoints.Count > 0 ? options : throw NoServer();
    }

    static ConfigurationOptions ParseList(string text)
    {
        // If a password contains a comma, StackExchange.Redis would treat the text after the comma as a server name.
        // StackExchange.Redis would then write a part of the password into the log.
        var afterPassword = text.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries)
            .SkipWhile(static part =>
                !part.Split('=')[0].Trim().Equals("password", StringComparison.OrdinalIgnoreCase));
        if (afterPassword.Any(static part => !part.Contains('=')))
        {
            throw new FormatException(
                "A server follows the password. Write the servers before the password. If the password contains a " +
                "comma, use a URL with %2C instead of the comma, for example redis://user:password@host:6379.");
        }

        try
        {
            return ConfigurationOptions.Parse($"{Defaults},{text}");
        }
        catch (Exception exception) when (exception is ArgumentException or FormatException or OverflowException)
        {
            throw new FormatException(
                "StackExchange.Redis does not know a setting, or cannot read its value. " +
                "Check each setting. If the password contains a comma, use a URL with %2C instead of the comma.");
        }
    }

    static ConfigurationOptions ParseUrl(string text, string scheme)
    {
        var usesTls = scheme.ToLowerInvariant() switch
        {
            "redis" => false,
            "rediss" => true,
            _ => throw new FormatException(
                "The scheme of the URL is unknown. Use redis:// or, for TLS, rediss://."),
        };
        if (!Uri.TryCreate(text, UriKind.Absolute, out var url) || url.DnsSafeHost.Length == 0)
        {
            throw new FormatException(
                "The URL is invalid. Write it like redis://user:password@host:6379/0, and encode special characters " +
                "of the password, for example # as %23.");
        }

        if (url.Query.Length > 0 || url.Fragment.Length > 0)
        {
            throw new FormatException(
                "The URL has a query or a fragment. For more settings, use the format of StackExchange.Redis. " +
                "If ? or # is a part of the password, write %3F or %23.");
        }

        var options = ConfigurationOptions.Parse(Defaults);
        options.EndPoints.Add(url.DnsSafeHost, url.Port > 0 ? url.Port : DefaultPort);
        options.Ssl = usesTls;
        SetLogin(options, url.UserInfo);
        var database = url.AbsolutePath.Trim('/');
        if (database.Length == 0) return options;
        if (!int.TryParse(database, NumberStyles.None, CultureInfo.InvariantCulture, out var number))
        {
            throw new FormatException(
                "The path of the URL is not a database number. Write it like redis://host:6379/0.");
        }

        options.DefaultDatabase = number;
        return options;
    }

    static void SetLogin(ConfigurationOptions options, string userInfo)
    {
        if (userInfo.Length == 0) return;
        var colon = userInfo.IndexOf(':', StringComparison.Ordinal);
        if (colon < 0)
            throw new FormatException("The URL has no password. Write it like redis://:password@host:6379.");
        if (colon > 0) options.User = Uri.UnescapeDataString(userInfo[..colon]);
        options.Password = Uri.UnescapeDataString(userInfo[(colon + 1)..]);
    }

    static FormatException NoServer() =>
        new("It names no server. Set it, for example to localhost:6379, or supply a connection.");

    [GeneratedRegex(@"\A\s*([A-Za-z][A-Za-z0-9+.-]*)://", RegexOptions.CultureInvariant)]
    private static partial Regex Scheme();
}
