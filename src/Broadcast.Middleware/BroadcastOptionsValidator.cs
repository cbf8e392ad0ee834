using Microsoft.Extensions.Options;

namespace Broadcast.Middleware;

/// <summary>Finds all that is wrong with the options at once.</summary>
sealed class BroadcastOptionsValidator : IValidateOptions<BroadcastOptions>
{
    const int MaxBytes = 1 << 30;

    public ValidateOptionsResult Validate(string? name, BroadcastOptions options)
    {
        var problems = new List<string>();
        InRange(nameof(options.MaxMessageBytes), options.MaxMessageBytes, 1, MaxBytes);
        InRange(nameof(options.MaxSmallFragments), options.MaxSmallFragments, 1, 1 << 20);
        InRange(nameof(options.MaxBacklogBytes), options.MaxBacklogBytes, 1024, MaxBytes);
        if (options.MaxBacklogBytes < options.MaxMessageBytes)
        {
            problems.Add(
                $"{nameof(options.MaxBacklogBytes)} is {options.MaxBacklogBytes} and {nameof(options.MaxMessageBytes)} {options.MaxMessageBytes}: " +
                "keep at least one message of the largest size.");
        }

        Time(nameof(options.KeepAliveInterval), options.KeepAliveInterval, TimeSpan.FromSeconds(1), TimeSpan.FromDays(1), orInfinite: true);
        Time(nameof(options.KeepAliveTimeout), options.KeepAliveTimeout, TimeSpan.FromSeconds(1), TimeSpan.FromDays(1), orInfinite: true);
        Time(nameof(options.CloseTimeout), options.CloseTimeout, TimeSpan.FromMilliseconds(10), TimeSpan.FromHours(1), orInfinite: false);
        if (problems.Count == 0) return ValidateOptionsResult.Success;
        var broadcast = string.IsNullOrEmpty(name) ? "" : $" of broadcast '{name}'";
        return ValidateOptionsResult.Fail(problems.Select(problem => $"{nameof(BroadcastOptions)}{broadcast}: {problem}"));

        void InRange(string option, int value, int least, int most)
        {
            if (value < least || value > most) problems.Add($"{option} is {value}: set it from {least} to {most}.");
        }

        void Time(string option, TimeSpan value, TimeSpan least, TimeSpan most, bool orInfinite)
        {
            if ((value >= least && value <= most) || (orInfinite && value == Timeout.InfiniteTimeSpan)) return;
            problems.Add($"{option} is {value}: set it from {least} to {most}{(orInfinite ? ", or -00:00:00.001 for never" : "")}.");
        }
    }
}
