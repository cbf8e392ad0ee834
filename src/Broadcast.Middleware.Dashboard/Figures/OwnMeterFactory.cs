using System.Diagnostics.Metrics;

namespace Broadcast.Middleware.Dashboard.Figures;

/// <summary>
/// Creates the meter of the dashboard's own broadcast. The meter has another name than the meters of the app, so an
/// exporter of the app does not count the connections of the dashboard.
/// </summary>
sealed class OwnMeterFactory : IMeterFactory
{
    public Meter Create(MeterOptions options) => new("Broadcast.Dashboard");

    public void Dispose()
    {
    }
}
