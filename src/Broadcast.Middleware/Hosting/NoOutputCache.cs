using Microsoft.AspNetCore.OutputCaching;

namespace Broadcast.Middleware.Hosting;

/// <summary>Disables output caching for an endpoint. The policy overrides the base policies of the app.</summary>
/// <remarks>
/// With output caching, a second client of the same URL would wait until the first client disconnects. The server would
/// then replay the event stream of the first client to the second client.
/// </remarks>
sealed class NoOutputCache : IOutputCachePolicy
{
    public ValueTask CacheRequestAsync(OutputCacheContext context, CancellationToken cancellation)
    {
        context.EnableOutputCaching = false;
        return default;
    }

    public ValueTask ServeFromCacheAsync(OutputCacheContext context, CancellationToken cancellation) => default;

    public ValueTask ServeResponseAsync(OutputCacheContext context, CancellationToken cancellation) => default;
}
