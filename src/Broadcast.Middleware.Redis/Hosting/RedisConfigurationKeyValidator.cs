using Broadcast.Middleware.Hosting;
using Broadcast.Middleware.Redis.Configuration;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Options;

namespace Broadcast.Middleware.Redis.Hosting;

/// <summary>
/// Finds unknown keys in the configuration section of the backplane, such as misspelled option names.
/// </summary>
/// <param name="name">The name of the broadcast.</param>
/// <param name="section">The section that the app passed to <c>AddRedis</c>.</param>
sealed class RedisConfigurationKeyValidator(string name, IConfigurationSection section)
    : IValidateOptions<RedisBackplaneOptions>
{
    static readonly string[] _optionNames =
    [
        nameof(RedisBackplaneOptions.Configuration),
        nameof(RedisBackplaneOptions.Prefix),
        nameof(RedisBackplaneOptions.WhenUnreachable),
        .. OptionRange.All.Select(static range => range.Name),
    ];

    public ValidateOptionsResult Validate(string? optionsName, RedisBackplaneOptions options)
    {
        if (optionsName != name) return ValidateOptionsResult.Skip;
        // No option is an object. So an object is not a misspelled option, but belongs to the app.
        var values = section.GetChildren().Where(static key => !key.GetChildren().Any());
        return RedisBackplaneOptionsValidator.CreateResult(
            name, values.Select(static key => ConfigurationKey.FindProblem(key, _optionNames)));
    }
}
