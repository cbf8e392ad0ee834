using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.WebUtilities;

namespace Broadcast.Middleware.Http;

/// <summary>Reads a query parameter of a request.</summary>
static class QueryParameter
{
    /// <summary>
    /// Returns the number of parameters with this name, and the value of the last of these parameters. The value is
    /// empty if the number is 0.
    /// </summary>
    public static int Find(HttpRequest request, string name, out string value)
    {
        value = "";
        var count = 0;
        // The property Query of the request would create objects that stay in memory until the connection ends.
        foreach (var pair in new QueryStringEnumerable(request.QueryString.Value))
        {
            if (!pair.DecodeName().Span.Equals(name, StringComparison.OrdinalIgnoreCase)) continue;
            value = pair.DecodeValue().ToString();
            count++;
        }

        return count;
    }
}
