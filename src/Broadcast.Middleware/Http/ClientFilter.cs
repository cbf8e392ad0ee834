using Microsoft.AspNetCore.Http;

namespace Broadcast.Middleware.Http;

/// <summary>Reads the subscription filter that a client has chosen in its URL.</summary>
static class ClientFilter
{
    /// <summary>The name of the query parameter.</summary>
    public const string Parameter = "filter";

    /// <summary>
    /// Reads the filter. The filter is null if the URL has no filter. Returns false and the problem for an invalid
    /// filter.
    /// </summary>
    public static bool TryRead(HttpRequest request, out SubscriptionFilter? filter, out string? problem)
    {
        (filter, problem) = (null, null);
        var count = QueryParameter.Find(request, Parameter, out var text);
        if (count > 1)
        {
            problem = "The URL has more than one filter. Combine the filters with 'and'.";
            return false;
        }

        return string.IsNullOrWhiteSpace(text) || SubscriptionFilter.TryParse(text, out filter, out problem);
    }
}
