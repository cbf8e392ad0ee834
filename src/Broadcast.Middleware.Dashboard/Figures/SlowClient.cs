namespace Broadcast.Middleware.Dashboard.Figures;

/// <summary>A client whose pending write has lasted for at least half a second.</summary>
sealed class SlowClient
{
    public required string Id { get; init; }
    public required string? User { get; init; }
    public required string? Address { get; init; }
    public required string HomeGroup { get; init; }

    /// <summary>The time since the start of the pending write, in milliseconds.</summary>
    public required long Waiting { get; init; }

    /// <summary>The largest number of unsent bytes in one log.</summary>
    public required long Backlog { get; init; }
}
