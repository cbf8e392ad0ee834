using System.Diagnostics.Metrics;

namespace Broadcast.Middleware.Hosting;

/// <summary>
/// Creates broadcasts that packages of this library use for themselves, for example for the dashboard. The service
/// container of the app disposes these broadcasts.
/// </summary>
/// <param name="services">The services of the app.</param>
sealed class InternalBroadcasts(IServiceProvider services) : IDisposable
{
    readonly List<BroadcastInstance> _broadcasts = [];

    /// <inheritdoc cref="BroadcastInstance.CreateInternal"/>
    public BroadcastInstance Create(string name, BroadcastOptions options, IMeterFactory meters)
    {
        var broadcast = BroadcastInstance.CreateInternal(services, name, options, meters);
        lock (_broadcasts) _broadcasts.Add(broadcast);
        return broadcast;
    }

    public void Dispose()
    {
        lock (_broadcasts)
        {
            foreach (var broadcast in _broadcasts)
            {
                broadcast.Dispose();
                // No service container owns this meter.
                broadcast.Meter.Dispose();
            }
        }
    }
}
