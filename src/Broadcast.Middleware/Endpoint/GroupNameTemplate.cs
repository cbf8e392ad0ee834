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
            foreach (var part in segment.Parts)
            {
                name.Append(part switch
                {
                    RoutePatternLiteralPart literal => literal.Content,
                    RoutePatternSeparatorPart separator => separator.Content,
                    RoutePatternParameterPart parameter => Convert.ToString(values[parameter.Name], CultureInfo.InvariantCulture),
                    _ => null,
                });
            }

            // An optional parameter that was left out.
            if (name.Length == start + 1) name.Length = start;
        }

        return name.Length == 0 ? "/" : name.ToString();
    }
}
