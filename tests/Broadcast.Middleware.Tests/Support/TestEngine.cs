using System.Diagnostics.Metrics;
using System.Text.Json;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging.Abstractions;

namespace Broadcast.Middleware.Tests.Support;

/// <summary>Creates parts of the engine without an app.</summary>
static class TestEngine
{
    static readonly ServiceProvider _services = new ServiceCollection().AddMetrics().BuildServiceProvider();

    public static TestBroadcaster CreateBroadcaster(
        BroadcastOptions options, IConnectionRegistry registry, TimeProvider time, IBackplane? backplane = null)
    {
        var instance = new BroadcastInstance(
            "", options, registry, null, null, null, [], backplane, JsonSerializerOptions.Default,
            _services.GetRequiredService<IServiceScopeFactory>(), time, _services.GetRequiredService<IMeterFactory>(),
            NullLoggerFactory.Instance, CancellationToken.None);
        return new(instance, options);
    }
}
