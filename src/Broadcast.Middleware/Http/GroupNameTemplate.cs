using System.Globalization;
using System.Text;
using Microsoft.AspNetCore.Routing;
using Microsoft.AspNetCore.Routing.Patterns;

namespace Broadcast.Middleware.Http;

/// <summary>Creates the group name of a URL from the route pattern and the route values.</summary>
/// <remarks>
/// Literals keep the spelling of the pattern, even if the client used another letter case or other slashes. Route
/// values are decoded once by routing. Routing does not decode <c>%2F</c>.
/// </remarks>
sealed class GroupNameTemplate(RoutePattern pattern)
{
    readonly string? _constant = pattern.Parameters.Count == 0 ? Build(pattern, []) : null;

    public bool HasParameters => _constant is null;

    public string GetName(RouteValueDictionary values) => _constant ?? Build(pattern, values);

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

                // A separator belongs to the optional parameter after it. Without the parameter, there is no separator.
                var text = part is RoutePatternParameterPart parameter
                    ? Convert.ToString(values[parameter.Name], CultureInfo.InvariantCulture)
                    : ((RoutePatternLiteralPart)part).Content;
                if (!string.IsNullOrEmpty(text)) name.Append(separator).Append(text);
                separator = null;
            }

            // The segment is an optional parameter without a value.
            if (name.Length == start + 1) name.Length = start;
        }

        return name.Length == 0 ? "/" : name.ToString();
    }
}
