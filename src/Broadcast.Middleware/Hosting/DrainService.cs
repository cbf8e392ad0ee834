using Broadcast.Middleware.Diagnostics;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Broadcast.Middleware.Hosting;

/// <summary>
/// Closes the connections after all hosted services have stopped. Then waits for the server, and for the connections of
/// old listeners.
/// </summary>
sealed class DrainService(DrainSchedule schedule, IServiceProvider services, ILoggerFactory loggerFactory)
    : IHostedLifecycleService
{
    public Task StartingAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StartedAsync(CancellationToken cancellationToken)
    {
        if (DrainingServer.IsBypassed(services) && schedule.HasServicesOfApp)
            new BroadcastLogger(loggerFactory.CreateLogger("Broadcast")).KestrelAddedTooLate();
        return Task.CompletedTask;
    }

    public Task StoppingAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public async Task StoppedAsync(CancellationToken cancellationToken)
    {
        schedule.Start();
        if (services.GetService(typeof(IServer)) is DrainingServer server) await server.Stopped;
        await schedule.CompleteAsync();
    }
}
