using Broadcast.Middleware.Redis.Tests.Infrastructure;

[assembly: AssemblyFixture(typeof(SharedRedis))]

namespace Broadcast.Middleware.Redis.Tests.Infrastructure;

/// <summary>
/// One Redis server for all tests that do not disturb the server. Each of these tests uses its own prefix or database.
/// </summary>
public sealed class SharedRedis : IAsyncLifetime
{
    RedisServer? _server;

    internal RedisServer Server
    {
        get
        {
            RedisServer.SkipUnlessInstalled();
            return _server!;
        }
    }

    public async ValueTask InitializeAsync()
    {
        if (RedisServer.IsInstalled) _server = await RedisServer.StartNewAsync();
    }

    public async ValueTask DisposeAsync()
    {
        if (_server is not null) await _server.DisposeAsync();
    }
}
