using System.Globalization;
using System.Text;
using Microsoft.AspNetCore.Routing;
using Microsoft.AspNetCore.Routing.Patterns;

namespace Broadcast.Middleware;

/// <summary>
/// Names the group of a URL: the route pattern's literals as they stand in it, whatever case and slashes the client used, and the
/// parameters' values as routing decodes them (once, and "%2F" not at all).
/// </summary>
sealed class GroupNameTemplate(RoutePattern pattern)
{
    readonly string? _constant = pattern.Parameters.Count == 0 ? Build(pattern, []) : null;

    public string NameFor(RouteValueDictionary values) => _constant ?? Build(pattern, values);

    static string Build(RoutePattern pattern, RouteValueDictionary values)
    {
        var name = new StringBuilder();
        foreach (var segment in pattern.PathSegments)
        {
            var start = name.Length;
            name.Append('/');
            string? separator = null;
            foreach (var part in segment.Parts)
            {
                if (part is RoutePatternSeparatorPart { Content: var content })
                {
                    separator = content;
                    continue;
                }

                // A separator stands before an optional parameter, and is left out with it.
                var text = part is RoutePatternParameterPart parameter
                    ? Convert.ToString(values[parameter.Name], CultureInfo.InvariantCulture)
                    : ((RoutePatternLiteralPart)part).Content;
                if (!string.IsNullOrEmpty(text)) name.Append(separator).Append(text);
                separator = null;
            }

            // An optional parameter that was left out.
            if (name.Length == start + 1) name.Length = start;
        }

        return name.Length == 0 ? "/" : name.ToString();
    }
}
