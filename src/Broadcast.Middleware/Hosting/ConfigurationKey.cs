using Microsoft.Extensions.Configuration;

namespace Broadcast.Middleware.Hosting;

/// <summary>Finds misspelled option names in a configuration. The Redis package also compiles this file.</summary>
static class ConfigurationKey
{
    const int MaxSuggestions = 3;

    /// <summary>Returns an error message if the key is not the name of an option. Otherwise, returns null.</summary>
    /// <param name="option">The key and its value.</param>
    /// <param name="names">The names of all options.</param>
    public static string? FindProblem(IConfigurationSection option, IReadOnlyList<string> names)
    {
        if (names.Any(name => IsSame(option.Key, name))) return null;
        var nearest = names.OrderBy(name => Distance(option.Key, name)).Take(MaxSuggestions);
        return $"The configuration key '{option.Path}' is not an option. " +
            $"Rename it to {string.Join(" or ", nearest)}, or remove it.";
    }

    public static bool IsSame(string key, string name) => key.Equals(name, StringComparison.OrdinalIgnoreCase);

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
