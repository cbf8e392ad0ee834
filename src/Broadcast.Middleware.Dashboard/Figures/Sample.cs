namespace Broadcast.Middleware.Dashboard.Figures;

/// <summary>The figures of one second. Rates are numbers per second.</summary>
sealed record Sample
{
    /// <summary>Tells the page the type of this message.</summary>
    public string Type { get; } = "sample";

    /// <summary>The time in milliseconds since 1970.</summary>
    public required long Time { get; init; }

    public required int Connections { get; init; }

    /// <summary>The number of groups, without the group of all connections.</summary>
    public required int Groups { get; init; }

    public required double Received { get; init; }
    public required double Published { get; init; }
    public required double Delivered { get; init; }
    public required double Dropped { get; init; }
    public required double Refused { get; init; }

    /// <summary>The median of the delivery latency in milliseconds. Null without deliveries.</summary>
    public required double? Median { get; init; }

    /// <summary>The 99th percentile of the delivery latency in milliseconds. Null without deliveries.</summary>
    public required double? P99 { get; init; }

    /// <summary>The number of slow clients.</summary>
    public required int SlowCount { get; init; }

    /// <summary>The slowest clients.</summary>
    public required IReadOnlyList<SlowClient> Slow { get; init; }
}
