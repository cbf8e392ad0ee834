using Broadcast.Middleware.Logs;
using Broadcast.Middleware.Messages;

namespace Broadcast.Middleware.Delivery;

/// <summary>Finds the settings of a group by its name: see <see cref="BroadcastOptions.Groups"/>.</summary>
sealed class GroupRules
{
    readonly Dictionary<string, LogSettings> _byName = new(StringComparer.Ordinal);
    readonly (string Prefix, LogSettings Settings)[] _byPrefix;
    readonly ConflationReserve _reserve;

    public GroupRules(BroadcastOptions options)
    {
        var budget = new RetentionBudget(options.MaxTotalUnacknowledgedBytes);
        _reserve = new ConflationReserve(options.MaxBacklogBytes);
        Default = LogSettings.Create(options, budget, _reserve);
        Adapt(options.SlowConsumer);
        foreach (var (pattern, group) in options.Groups)
        {
            if (!pattern.EndsWith('*')) _byName[pattern] = LogSettings.Create(options, budget, _reserve, group);
        }

        _byPrefix = [.. options.Groups
            .Where(rule => rule.Key.EndsWith('*'))
            .OrderByDescending(rule => rule.Key.Length)
            .Select(rule => (rule.Key[..^1], LogSettings.Create(options, budget, _reserve, rule.Value)))];
    }

    /// <summary>The settings of private logs and of groups without a rule.</summary>
    public LogSettings Default { get; }

    /// <summary>
    /// Enables the <see cref="ConflationReserve"/> of the logs if the setting is <see cref="SlowConsumer.Conflate"/>.
    /// </summary>
    public void Adapt(SlowConsumer whenSlow)
    {
        if (whenSlow == SlowConsumer.Conflate) _reserve.Enable();
    }

    public LogSettings Find(string group)
    {
        if (group == GroupName.Everyone) return Default;
        if (_byName.TryGetValue(group, out var settings)) return settings;
        foreach (var (prefix, prefixSettings) in _byPrefix)
        {
            if (group.StartsWith(prefix, StringComparison.Ordinal)) return prefixSettings;
        }

        return Default;
    }
}
