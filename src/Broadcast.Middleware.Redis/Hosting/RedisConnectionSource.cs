using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Hosting;

/// <summary>A delegate of the app that returns the Redis connection for the broadcast with this name.</summary>
sealed record RedisConnectionSource(string Name, Func<IServiceProvider, IConnectionMultiplexer> Connect);
