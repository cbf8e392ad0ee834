using Broadcast.Middleware.Http;
using Broadcast.Middleware.Messages;
using Microsoft.Extensions.Options;

namespace Broadcast.Middleware.Hosting;

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

        InRange(nameof(options.MaxMessagesPerSecond), options.MaxMessagesPerSecond ?? 1, 1, 1_000_000);
        InRange(nameof(options.MaxMessageBurst), options.MaxMessageBurst ?? 1, 1, 1_000_000);
        InRange(nameof(options.MaxConnections), options.MaxConnections ?? 1, 1, int.MaxValue);
        InRange(nameof(options.MaxConnectionsPerUser), options.MaxConnectionsPerUser ?? 1, 1, int.MaxValue);
        InRange(nameof(options.MaxConnectionsPerAddress), options.MaxConnectionsPerAddress ?? 1, 1, int.MaxValue);
        if (!Enum.IsDefined(options.SlowConsumer))
            problems.Add($"{nameof(options.SlowConsumer)} is {options.SlowConsumer}: set it to {string.Join(" or ", Enum.GetNames<SlowConsumer>())}.");
        InRange(nameof(options.MaxGroupsPerConnection), options.MaxGroupsPerConnection, 1, 1 << 16);
        InRange(nameof(options.MaxEmptyGroups), options.MaxEmptyGroups, 0, 1_000_000);
        InRange(nameof(options.MaxPresenceStateBytes), options.MaxPresenceStateBytes, 0, 1 << 16);
        InRange(nameof(options.MaxDisconnectedSessions), options.MaxDisconnectedSessions, 0, 10_000_000);
        InRange(nameof(options.MaxUnacknowledgedBytes), options.MaxUnacknowledgedBytes, 1024, MaxBytes);
        InRange(nameof(options.MaxUnacknowledgedMessages), options.MaxUnacknowledgedMessages, 1, 10_000_000);
        InRange(nameof(options.MaxTotalUnacknowledgedBytes), options.MaxTotalUnacknowledgedBytes, 1024, 1L << 40);
        Time(nameof(options.RecoveryTimeout), options.RecoveryTimeout, TimeSpan.Zero, TimeSpan.FromHours(1), orInfinite: false);
        foreach (var (pattern, group) in options.Groups) CheckGroup(pattern, group);
        foreach (var origin in options.AllowedOrigins.Where(origin => OriginCheck.Normalize(origin) is null))
        {
            problems.Add(
                $"{nameof(options.AllowedOrigins)} holds '{origin}': write an origin as browsers do, such as https://example.com or " +
                "http://localhost:3000, without a user, path or query; or * for all.");
        }

        Time(nameof(options.FirstMessageTimeout), options.FirstMessageTimeout, TimeSpan.FromSeconds(1), TimeSpan.FromDays(1), orInfinite: true);
        Time(nameof(options.SendTimeout), options.SendTimeout, TimeSpan.FromSeconds(1), TimeSpan.FromDays(1), orInfinite: true);
        Time(nameof(options.RevalidationInterval), options.RevalidationInterval, TimeSpan.FromSeconds(1), TimeSpan.FromDays(1), orInfinite: true);
        Time(nameof(options.DrainTimeout), options.DrainTimeout, TimeSpan.Zero, TimeSpan.FromHours(1), orInfinite: false);
        Time(nameof(options.KeepAliveInterval), options.KeepAliveInterval, TimeSpan.FromSeconds(1), TimeSpan.FromDays(1), orInfinite: true);
        Time(nameof(options.KeepAliveTimeout), options.KeepAliveTimeout, TimeSpan.FromSeconds(1), TimeSpan.FromDays(1), orInfinite: true);
        Time(nameof(options.CloseTimeout), options.CloseTimeout, TimeSpan.FromMilliseconds(10), TimeSpan.FromHours(1), orInfinite: false);
        if (problems.Count == 0) return ValidateOptionsResult.Success;
        var broadcast = string.IsNullOrEmpty(name) ? "" : $" of broadcast '{name}'";
        return ValidateOptionsResult.Fail(problems.Select(problem => $"{nameof(BroadcastOptions)}{broadcast}: {problem}"));

        void CheckGroup(string pattern, GroupOptions? group)
        {
            if (group is null)
            {
                problems.Add($"{nameof(options.Groups)}['{pattern}'] is null: give it settings, or leave it out.");
                return;
            }

            var name = $"{nameof(options.Groups)}['{pattern}'].";
            if (pattern != "*" && GroupName.Problem(pattern.EndsWith('*') ? pattern[..^1] : pattern) is { } problem)
                problems.Add($"{nameof(options.Groups)} has a key that fits no group: {problem} Write a group's name, or the beginning of names and *.");
            InRange(name + nameof(group.HistoryMessages), group.HistoryMessages, 0, 10_000_000);
            InRange(name + nameof(group.HistoryBytes), group.HistoryBytes, 1024, MaxBytes);
            Time(name + nameof(group.HistoryAge), group.HistoryAge, TimeSpan.FromSeconds(1), TimeSpan.FromDays(30), orInfinite: true);
            InRange(name + nameof(group.ReplayOnJoin), group.ReplayOnJoin, 0, 10_000_000);
            if (group.SlowConsumer is { } slow && !Enum.IsDefined(slow))
                problems.Add($"{name}{nameof(group.SlowConsumer)} is {slow}: set it to {string.Join(" or ", Enum.GetNames<SlowConsumer>())}.");
        }

        void InRange(string option, long value, long least, long most)
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
