using System.Diagnostics.Metrics;

namespace Broadcast.Middleware.Dashboard.Figures;

/// <summary>
/// Creates the meter of the dashboard's own broadcast. This meter has a separate name. So an exporter of the app does
/// not count the connections of the dashboard.
/// </summary>
sealed class OwnMeterFactory : IMeterFactory
{
    public Meter Create(MeterOptions options) => new("Broadcast.Dashboard");

    public void Dispose()
    {
    }
}
