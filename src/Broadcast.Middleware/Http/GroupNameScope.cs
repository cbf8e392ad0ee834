using System.Globalization;
using Microsoft.AspNetCore.Http;

namespace Broadcast.Middleware.Http;

/// <summary>
/// Creates the first part of a group name from the host and the path base of a request. So URLs with the same path can
/// have different groups for different hosts or path bases.
/// </summary>
/// <remarks>
/// The scope contains a host only if the endpoint requires a host: see <see cref="BroadcastOptions.GroupScope"/>.
/// Otherwise, a client could send any host and create any number of groups.
/// </remarks>
sealed class GroupNameScope
{
    readonly string? _fixedScope;
    readonly RequiredHost[] _hosts;

    /// <param name="fixedScope">The scope that the app set. Null if the scope depends on the request.</param>
    /// <param name="requiredHosts">The hosts of <c>RequireHost</c>. Empty if the endpoint accepts every host.</param>
    public GroupNameScope(string? fixedScope, IEnumerable<string> requiredHosts)
    {
        _fixedScope = fixedScope;
        // A request can match several hosts. The most specific host is first, so that one URL always has one scope.
        _hosts = [.. requiredHosts.Select(RequiredHost.Parse).OrderByDescending(static host => host.Specificity)];
    }

    /// <summary>Returns the name of a group in this scope.</summary>
    /// <param name="request">The request of the client.</param>
    /// <param name="name">The name without a scope. The name starts with a slash.</param>
    public string GetName(HttpRequest request, string name)
    {
        var scope = _fixedScope ?? GetHost(request) + request.PathBase.Value?.TrimEnd('/').ToLowerInvariant();
        return scope.Length == 0 ? name : scope + name;
    }

    /// <summary>Returns a message with the problem and the fix. Returns null for a valid path.</summary>
    /// <param name="name">The name without a scope.</param>
    /// <remarks>
    /// Two slashes at the start of a group name mark a host. Without this check, a client of the pattern
    /// <c>/{**path}</c> could join the group of another host.
    /// </remarks>
    public static string? Problem(string name) => name.StartsWith("//", StringComparison.Ordinal)
        ? "The path of the URL starts with two slashes. Remove one slash."
        : null;

    /// <summary>Returns a scope such as <c>//example.com</c>. Empty if the endpoint accepts every host.</summary>
    string GetHost(HttpRequest request)
    {
        if (_hosts.Length == 0) return "";
        var host = request.Host;
        var port = host.Port ?? (request.IsHttps ? 443 : 80);
        foreach (var required in _hosts)
        {
            if (required.Matches(host.Host, port)) return required.GetScope(host.Host);
        }

        return "";
    }

    /// <summary>A host of <c>RequireHost</c>, such as <c>a.example</c>, <c>*.example</c> or <c>*:5000</c>.</summary>
    sealed record RequiredHost(string Host, int? Port)
    {
        const string Any = "*";

        string Suffix { get; } = Port is null ? "" : string.Create(CultureInfo.InvariantCulture, $":{Port}");

        bool IsSubdomain => Host.StartsWith("*.", StringComparison.Ordinal);

        public (int Kind, int Length, bool HasPort) Specificity =>
            (Host == Any ? 0 : IsSubdomain ? 1 : 2, Host.Length, Port is not null);

        /// <summary>Parses the text in the same way as the routing of ASP.NET Core.</summary>
        public static RequiredHost Parse(string text)
        {
            var parts = text.Split(':');
            int? port = parts.Length > 1 && int.TryParse(parts[1], CultureInfo.InvariantCulture, out var number)
                ? number
                : null;
            return new(parts[0].ToLowerInvariant(), port);
        }

        public bool Matches(string host, int port)
        {
            if (Port is { } required && required != port) return false;
            return Host == Any || (IsSubdomain
                ? host.EndsWith(Host[1..], StringComparison.OrdinalIgnoreCase)
                : host.Equals(Host, StringComparison.OrdinalIgnoreCase));
        }

        public string GetScope(string host)
        {
            if (Host == Any && Port is null) return "";
            return $"//{(IsSubdomain ? host.ToLowerInvariant() : Host)}{Suffix}";
        }
    }
}
