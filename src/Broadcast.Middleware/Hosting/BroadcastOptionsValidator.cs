using Broadcast.Middleware.Messages;
using Microsoft.Extensions.Options;

namespace Broadcast.Middleware.Hosting;

/// <summary>Checks the options of a broadcast, and reports all problems together.</summary>
sealed class BroadcastOptionsValidator : IValidateOptions<BroadcastOptions>
{
    public ValidateOptionsResult Validate(string? name, BroadcastOptions options)
    {
        var problems = new OptionProblems();
        problems.CheckEndpoint(new BroadcastEndpointOptions(options), options.MaxBacklogBytes);
        problems.Check(OptionRanges.MaxConnections, options.MaxConnections);
        problems.Check(OptionRanges.MaxConnectionsPerUser, options.MaxConnectionsPerUser);
        problems.Check(OptionRanges.MaxConnectionsPerAddress, options.MaxConnectionsPerAddress);
        problems.Check(OptionRanges.MaxBacklogBytes, options.MaxBacklogBytes);
        problems.Check(OptionRanges.MaxGroupsPerConnection, options.MaxGroupsPerConnection);
        problems.Check(OptionRanges.MaxEmptyGroups, options.MaxEmptyGroups);
        problems.Check(OptionRanges.MaxPresenceStateBytes, options.MaxPresenceStateBytes);
        problems.Check(OptionRanges.MessageIdWindow, options.MessageIdWindow);
        problems.Check(OptionRanges.MaxMessageIds, options.MaxMessageIds);
        problems.Check(OptionRanges.MaxDisconnectedSessions, options.MaxDisconnectedSessions);
        problems.Check(OptionRanges.MaxUnacknowledgedBytes, options.MaxUnacknowledgedBytes);
        problems.Check(OptionRanges.MaxUnacknowledgedMessages, options.MaxUnacknowledgedMessages);
        problems.Check(OptionRanges.MaxTotalUnacknowledgedBytes, options.MaxTotalUnacknowledgedBytes);
        problems.Check(OptionRanges.RecoveryTimeout, options.RecoveryTimeout);
        problems.Check(OptionRanges.RevalidationInterval, options.RevalidationInterval);
        problems.Check(OptionRanges.DrainTimeout, options.DrainTimeout);
        foreach (var (pattern, group) in options.Groups) CheckGroup(problems, pattern, group);
        return CreateResult(name, problems.All);
    }

    /// <summary>Creates the result of a validation. Each failure contains the name of the broadcast.</summary>
    public static ValidateOptionsResult CreateResult(string? name, IReadOnlyList<string> problems)
    {
        if (problems.Count == 0) return ValidateOptionsResult.Success;
        var broadcast = string.IsNullOrEmpty(name) ? "" : $" of broadcast '{name}'";
        return ValidateOptionsResult.Fail(
            problems.Select(problem => $"{nameof(BroadcastOptions)}{broadcast}: {problem}"));
    }

    static void CheckGroup(OptionProblems problems, string pattern, GroupOptions? group)
    {
        var groupName = pattern.EndsWith('*') ? pattern[..^1] : pattern;
        if (pattern != "*" && GroupName.Problem(groupName) is { } problem)
        {
            problems.Add(
                $"{nameof(BroadcastOptions.Groups)} has a key that matches no group. {problem} " +
                "Use the name of a group, or a prefix of group names followed by *.");
        }

        if (group is null)
        {
            problems.Add(
                $"{nameof(BroadcastOptions.Groups)}['{pattern}'] is null. Set GroupOptions, or remove the key.");
            return;
        }

        var owner = $"{nameof(BroadcastOptions.Groups)}['{pattern}'].";
        var areInRange = problems.Check(OptionRanges.HistoryMessages, group.HistoryMessages, owner)
            & problems.Check(OptionRanges.ReplayOnJoin, group.ReplayOnJoin, owner);
        problems.Check(OptionRanges.HistoryBytes, group.HistoryBytes, owner);
        problems.Check(OptionRanges.HistoryAge, group.HistoryAge, owner);
        problems.Check(OptionRanges.MaxRetainedKeys, group.MaxRetainedKeys, owner);
        problems.Check(OptionRanges.MaxRetainedBytes, group.MaxRetainedBytes, owner);
        problems.Check(OptionRanges.RetainedAge, group.RetainedAge, owner);
        problems.CheckSlowConsumer(group.SlowConsumer, owner);
        if (areInRange && group.ReplayOnJoin > group.HistoryMessages)
        {
            problems.Add(
                $"{owner}{nameof(group.ReplayOnJoin)} is {group.ReplayOnJoin}, " +
                $"but {nameof(group.HistoryMessages)} is {group.HistoryMessages}. " +
                $"Lower {nameof(group.ReplayOnJoin)}, or raise {nameof(group.HistoryMessages)}.");
        }
    }
}
