using System.Diagnostics.Metrics;

namespace Broadcast.Middleware.Dashboard.Figures;

/// <summary>
/// Creates the meter of the dashboard's own broadcast. The name of this meter differs from the names of the app's
/// meters, so an exporter of the app does not count the connections of the dashboard.
/// </summary>
sealed class OwnMeterFactory : IMeterFactory
{
    public Meter Create(MeterOptions options) => new("Broadcast.Dashboard");

    public void Dispose()
    {
    }
}
