namespace Broadcast.Middleware.Hosting;

/// <summary>The range of an option that is a <see cref="TimeSpan"/>. Both limits are valid values.</summary>
/// <param name="Name">The name of the option.</param>
/// <param name="Min">The minimum.</param>
/// <param name="Max">The maximum.</param>
/// <param name="AllowsInfinite">True if <see cref="Timeout.InfiniteTimeSpan"/> is also valid.</param>
sealed record TimeRange(string Name, TimeSpan Min, TimeSpan Max, bool AllowsInfinite = false);
