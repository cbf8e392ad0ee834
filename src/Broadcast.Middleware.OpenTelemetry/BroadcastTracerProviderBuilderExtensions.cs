namespace OpenTelemetry.Trace;

/// <summary>Adds the traces of Broadcast.Middleware to OpenTelemetry.</summary>
public static class BroadcastTracerProviderBuilderExtensions
{
    /// <summary>
    /// Exports the spans of all broadcasts of the app. A broadcast never creates a span for a single recipient of a
    /// message.
    /// </summary>
    /// <param name="builder">The builder of the tracer provider.</param>
    /// <returns>The same builder.</returns>
    public static TracerProviderBuilder AddBroadcastInstrumentation(this TracerProviderBuilder builder)
    {
        ArgumentNullException.ThrowIfNull(builder);
        return builder.AddSource("Broadcast");
    }
}
