[assembly: AssemblyFixture(typeof(Broadcast.Middleware.Redis.Tests.SharedRedis))]

namespace Broadcast.Middleware.Redis.Tests;

/// <summary>One server for the tests that do it no harm; each has a prefix of its own.</summary>
public sealed class SharedRedis : IAsyncLifetime
{
    RedisServer? _server;

    internal RedisServer Server
    {
        get
        {
            RedisServer.SkipWhereThereIsNone();
            return _server!;
        }
    }

    public async ValueTask InitializeAsync()
    {
        if (RedisServer.Exists) _server = await RedisServer.StartAsync();
    }

    public async ValueTask DisposeAsync()
    {
        if (_server is not null) await _server.DisposeAsync();
    }
}
