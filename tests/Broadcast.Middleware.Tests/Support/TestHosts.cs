using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Testing;

namespace Broadcast.Middleware.Tests.Support;

/// <summary>Starts hosts of the test kit that record their log.</summary>
static class TestHosts
{
    extension(BroadcastTestHost host)
    {
        public IConnectionRegistry Registry => host.Broadcaster.Connections;

        public IReadOnlyList<FakeLogRecord> Errors =>
            [.. host.Services.GetRequiredService<FakeLogCollector>().GetSnapshot().Where(static record => record.Level >= LogLevel.Error)];
    }

    extension(TestClient client)
    {
        public string Id => client.Connection.Id;

        /// <summary>Waits until the connection's pump has run the work that was queued before this call.</summary>
        public Task SettleAsync() => PumpBarrier.PassAsync(((Connection)client.Connection).Writer.Pump);
    }

    public static Task<BroadcastTestHost> StartAsync(
        Action<WebApplicationBuilder>? configure = null,
        Action<WebApplication>? map = null,
        Action<BroadcastOptions>? options = null,
        Action<IBroadcastBuilder>? broadcast = null) => BroadcastTestHost.StartAsync(
        options,
        broadcast,
        builder =>
        {
            builder.Logging.AddFakeLogging().SetMinimumLevel(LogLevel.Debug);
            configure?.Invoke(builder);
        },
        map,
        cancellationToken: TestContext.Current.CancellationToken);
}
