using Broadcast.Middleware.Http;

namespace Broadcast.Middleware.Hosting;

/// <summary>The metadata of an endpoint that <c>MapBroadcast</c> has added.</summary>
sealed class MappedBroadcastMetadata
{
    /// <summary>The handler of the endpoint. Null until the app has added all filters.</summary>
    public BroadcastEndpoint? Handler { get; set; }
}
