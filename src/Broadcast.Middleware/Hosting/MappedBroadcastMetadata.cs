namespace Broadcast.Middleware.Hosting;

/// <summary>The metadata of an endpoint that <c>MapBroadcast</c> has added.</summary>
sealed class MappedBroadcastMetadata;
