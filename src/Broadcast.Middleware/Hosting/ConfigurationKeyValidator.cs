using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Options;

namespace Broadcast.Middleware.Hosting;

/// <summary>Finds unknown keys in a configuration section, such as misspelled option names.</summary>
/// <param name="name">The name of the broadcast.</param>
/// <param name="section">The section that the app passed to <c>AddBroadcast</c>.</param>
sealed class ConfigurationKeyValidator(string name, IConfigurationSection section) : IValidateOptions<BroadcastOptions>
{
    const int MaxSuggestions = 3;

    public ValidateOptionsResult Validate(string? optionsName, BroadcastOptions options)
    {
        if (optionsName != name) return ValidateOptionsResult.Skip;
        var problems = new List<string>();
        foreach (var option in section.GetChildren())
        {
            if (IsSame(option.Key, OptionNames.RedisSection)) continue;
            Check(option, OptionNames.Broadcast, problems);
            if (!IsSame(option.Key, nameof(options.Groups))) continue;
            foreach (var groupOption in option.GetChildren().SelectMany(static group => group.GetChildren()))
                Check(groupOption, OptionNames.Group, problems);
        }

        return BroadcastOptionsValidator.CreateResult(name, problems);
    }

    static void Check(IConfigurationSection option, string[] names, List<string> problems)
    {
        if (names.Any(valid => IsSame(valid, option.Key))) return;
        var nearest = names.OrderBy(valid => Distance(option.Key, valid)).Take(MaxSuggestions);
        problems.Add(
            $"The configuration key '{option.Path}' is not an option. " +
            $"Rename it to {string.Join(" or ", nearest)}, or remove it.");
    }

    static bool IsSame(string key, string name) => key.Equals(name, StringComparison.OrdinalIgnoreCase);

    /// <summary>Returns the number of letters to insert, remove or replace (Levenshtein distance).</summary>
    static int Distance(string from, string to)
    {
        var previous = new int[to.Length + 1];
        var current = new int[to.Length + 1];
        for (var j = 0; j <= to.Length; j++) previous[j] = j;
        for (var i = 1; i <= from.Length; i++)
        {
            current[0] = i;
            for (var j = 1; j <= to.Length; j++)
            {
                var isSame = char.ToUpperInvariant(from[i - 1]) == char.ToUpperInvariant(to[j - 1]);
                var replaced = previous[j - 1] + (isSame ? 0 : 1);
                current[j] = Math.Min(replaced, Math.Min(previous[j], current[j - 1]) + 1);
            }

            (previous, current) = (current, previous);
        }

        return previous[to.Length];
    }
}
