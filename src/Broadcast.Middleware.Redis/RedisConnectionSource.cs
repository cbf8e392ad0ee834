using StackExchange.Redis;

namespace Broadcast.Middleware;

/// <summary>A broadcast is given the app's own connection.</summary>
sealed record RedisConnectionSource(string Name, Func<IServiceProvider, IConnectionMultiplexer> Connect);
