using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Options;

namespace Broadcast.Middleware.Hosting;

/// <summary>Finds unknown keys in a configuration section, such as misspelled option names.</summary>
/// <param name="name">The name of the broadcast.</param>
/// <param name="section">The section that the app passed to <c>AddBroadcast</c>.</param>
sealed class ConfigurationKeyValidator(string name, IConfigurationSection section) : IValidateOptions<BroadcastOptions>
{
    public ValidateOptionsResult Validate(string? optionsName, BroadcastOptions options)
    {
        if (optionsName != name) return ValidateOptionsResult.Skip;
        var problems = new List<string>();
        foreach (var option in section.GetChildren())
        {
            if (ConfigurationKey.IsSame(option.Key, OptionNames.RedisSection)) continue;
            Check(option, OptionNames.Broadcast);
            if (!ConfigurationKey.IsSame(option.Key, nameof(options.Groups))) continue;
            foreach (var groupOption in option.GetChildren().SelectMany(static group => group.GetChildren()))
                Check(groupOption, OptionNames.Group);
        }

        return BroadcastOptionsValidator.CreateResult(name, problems);

        void Check(IConfigurationSection option, string[] names)
        {
            if (ConfigurationKey.FindProblem(option, names) is { } problem) problems.Add(problem);
        }
    }
}
