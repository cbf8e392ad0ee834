using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;

namespace Broadcast.Middleware.Http;

/// <summary>A request that stays open as long as its connection.</summary>
static class LongRequest
{
    /// <summary>
    /// Excludes the request from the metric <c>http.server.request.duration</c>. A duration of hours would hide the
    /// durations of the other requests.
    /// </summary>
    public static void ExcludeFromMetrics(HttpContext context)
    {
        // The feature exists only while a listener reads the metric.
        if (context.Features.Get<IHttpMetricsTagsFeature>() is { } metrics) metrics.MetricsDisabled = true;
    }
}
