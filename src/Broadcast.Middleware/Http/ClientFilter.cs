using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.WebUtilities;

namespace Broadcast.Middleware.Http;

/// <summary>Reads the subscription filter that a client has chosen in its URL.</summary>
static class ClientFilter
{
    /// <summary>The name of the query parameter.</summary>
    public const string Parameter = "filter";

    /// <summary>
    /// Reads the filter. The filter is null if the URL has none. Returns false and the problem for an invalid filter.
    /// </summary>
    public static bool TryRead(HttpRequest request, out SubscriptionFilter? filter, out string? problem)
    {
        (filter, problem) = (null, null);
        var isFound = false;
        // The property Query of the request would create objects that stay in memory until the connection ends.
        foreach (var pair in new QueryStringEnumerable(request.QueryString.Value))
        {
            if (!pair.DecodeName().Span.Equals(Parameter, StringComparison.OrdinalIgnoreCase)) continue;
            if (isFound)
            {
                problem = "The URL has more than one filter. Combine the filters with 'and'.";
                return false;
            }

            isFound = true;
            var text = pair.DecodeValue().Span;
            if (!text.IsWhiteSpace() && !SubscriptionFilter.TryParse(text.ToString(), out filter, out problem))
                return false;
        }

        return true;
    }
}
