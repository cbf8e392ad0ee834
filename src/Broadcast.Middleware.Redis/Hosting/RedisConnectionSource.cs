using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Hosting;

/// <summary>Finds the app's own connection for the broadcast with this name.</summary>
sealed record RedisConnectionSource(string Name, Func<IServiceProvider, IConnectionMultiplexer> Connect);
