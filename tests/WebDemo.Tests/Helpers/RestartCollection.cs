namespace WebDemo.Tests;

/// <summary>The tests of this collection run one after the other, and restart one server. So each test needs only one new process.</summary>
/// <remarks>After a restart, the server has no connections and no groups of earlier tests.</remarks>
[CollectionDefinition]
public sealed class RestartCollection : ICollectionFixture<RestartedServer>;

/// <summary>A server that each test restarts.</summary>
public sealed class RestartedServer : IAsyncDisposable
{
    readonly DemoServer _server = new();

    /// <summary>Returns the running server. Starts the server before the first test, and after a test that left it stopped.</summary>
    public async Task<DemoServer> GetAsync()
    {
        if (!_server.IsRunning) await _server.StartAsync();
        return _server;
    }

    public ValueTask DisposeAsync() => _server.DisposeAsync();
}
