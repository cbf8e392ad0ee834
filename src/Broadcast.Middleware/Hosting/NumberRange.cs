namespace Broadcast.Middleware.Hosting;

/// <summary>The range of an option that is a number. Both limits are valid values.</summary>
sealed record NumberRange(string Name, long Min, long Max);
