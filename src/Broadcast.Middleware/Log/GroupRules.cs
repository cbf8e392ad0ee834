namespace Broadcast.Middleware;

/// <summary>Finds the settings of a group by its name: see <see cref="BroadcastOptions.Groups"/>.</summary>
sealed class GroupRules
{
    readonly Dictionary<string, LogSettings> _byName = new(StringComparer.Ordinal);
    readonly (string Beginning, LogSettings Settings)[] _byBeginning;

    public GroupRules(BroadcastOptions options)
    {
        var budget = new RetentionBudget(options.MaxUnacknowledgedBytesInAll);
        Default = LogSettings.For(options, budget);
        foreach (var (pattern, group) in options.Groups)
        {
            if (!pattern.EndsWith('*')) _byName[pattern] = LogSettings.For(options, budget, group);
        }

        _byBeginning = [.. options.Groups
            .Where(rule => rule.Key.EndsWith('*'))
            .OrderByDescending(rule => rule.Key.Length)
            .Select(rule => (rule.Key[..^1], LogSettings.For(options, budget, rule.Value)))];
    }

    /// <summary>Of everything that is no group of its own.</summary>
    public LogSettings Default { get; }

    public LogSettings For(string group)
    {
        if (group == Groups.Everyone) return Default;
        if (_byName.TryGetValue(group, out var settings)) return settings;
        foreach (var (beginning, ofBeginning) in _byBeginning)
        {
            if (group.StartsWith(beginning, StringComparison.Ordinal)) return ofBeginning;
        }

        return Default;
    }
}
