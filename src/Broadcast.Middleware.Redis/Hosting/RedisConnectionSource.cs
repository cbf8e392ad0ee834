using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Hosting;

/// <summary>Returns the Redis connection that the app supplies for the broadcast with this name.</summary>
sealed record RedisConnectionSource(string Name, Func<IServiceProvider, IConnectionMultiplexer> Connect);
