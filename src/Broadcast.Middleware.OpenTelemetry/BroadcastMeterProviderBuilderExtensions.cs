namespace OpenTelemetry.Metrics;

/// <summary>Adds the metrics of Broadcast.Middleware to OpenTelemetry.</summary>
public static class BroadcastMeterProviderBuilderExtensions
{
    /// <summary>
    /// Exports the metrics of all broadcasts of the app, and of the Redis backplane if the app uses this backplane.
    /// </summary>
    /// <param name="builder">The builder of the meter provider.</param>
    /// <returns>The same builder.</returns>
    public static MeterProviderBuilder AddBroadcastInstrumentation(this MeterProviderBuilder builder)
    {
        ArgumentNullException.ThrowIfNull(builder);
        return builder.AddMeter("Broadcast", "Broadcast.Redis");
    }
}
