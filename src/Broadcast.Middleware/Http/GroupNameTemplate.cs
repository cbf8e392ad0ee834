using System.Globalization;
using System.Text;
using Microsoft.AspNetCore.Routing;
using Microsoft.AspNetCore.Routing.Patterns;

namespace Broadcast.Middleware.Http;

/// <summary>Creates the group name of a URL from the route pattern and the route values.</summary>
/// <remarks>
/// Literal parts keep the spelling of the pattern, even if the URL of the client has another letter case or other
/// slashes. Routing decodes the route values once, except <c>%2F</c>.
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

                // A separator belongs to the optional parameter that follows. If the parameter has no value, skip the
                // separator.
                var text = part is RoutePatternParameterPart parameter
                    ? Convert.ToString(values[parameter.Name], CultureInfo.InvariantCulture)
                    : ((RoutePatternLiteralPart)part).Content;
                if (!string.IsNullOrEmpty(text)) name.Append(separator).Append(text);
                separator = null;
            }

            // If the segment is an optional parameter without a value, remove the slash.
            if (name.Length == start + 1) name.Length = start;
        }

        return name.Length == 0 ? "/" : name.ToString();
    }
}
