using System.Text.RegularExpressions;
using Broadcast.Middleware.Redis.Configuration;
using Microsoft.Extensions.Options;

namespace Broadcast.Middleware.Redis.Hosting;

/// <summary>Validates the options and reports all errors together.</summary>
sealed partial class RedisBackplaneOptionsValidator(IEnumerable<RedisConnectionSource> sources)
    : IValidateOptions<RedisBackplaneOptions>
{
    public ValidateOptionsResult Validate(string? name, RedisBackplaneOptions options)
    {
        string?[] errors =
        [
            CheckPrefix(options.Prefix),
            // The backplane ignores Configuration if the app supplies a connection.
            sources.Any(source => source.Name == (name ?? "")) ? null : CheckConfiguration(options.Configuration),
            Enum.IsDefined(options.WhenUnreachable)
                ? null
                : $"{nameof(options.WhenUnreachable)} is {options.WhenUnreachable}. " +
                  $"Set it to {string.Join(" or ", Enum.GetNames<WhenUnreachable>())}.",
            .. OptionRange.All
                .Where(range => !range.Contains(options))
                .Select(range =>
                    $"{range.Name} is {range.FormatValue(options)}. Set it from {range.Min} to {range.Max}."),
        ];
        return CreateResult(name, errors);
    }

    /// <summary>Adds the name of the broadcast to each error. Ignores null.</summary>
    public static ValidateOptionsResult CreateResult(string? name, IEnumerable<string?> errors)
    {
        var broadcast = string.IsNullOrEmpty(name) ? "" : $" of broadcast '{name}'";
        string[] failures =
        [
            .. errors
                .Where(static error => error is not null)
                .Select(error => $"{nameof(RedisBackplaneOptions)}{broadcast}: {error}"),
        ];
        return failures.Length == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(failures);
    }

    static string? CheckPrefix(string prefix)
    {
        const string Option = nameof(RedisBackplaneOptions.Prefix);
        if (string.IsNullOrEmpty(prefix))
            return $"{Option} is empty. Set it to the name of the app, so that apps that share Redis stay separate.";
        return ValidPrefix().IsMatch(prefix)
            ? null
            : $"{Option} is '{prefix}'. Use up to 100 of these characters: A to Z, a to z, digits, and . _ : -";
    }

    static string? CheckConfiguration(string? configuration)
    {
        try
        {
            ConnectionString.Parse(configuration);
            return null;
        }
        catch (FormatException exception)
        {
            return $"{nameof(RedisBackplaneOptions.Configuration)} is invalid. {exception.Message}";
        }
    }

    [GeneratedRegex(@"\A[A-Za-z0-9._:-]{1,100}\z")]
    private static partial Regex ValidPrefix();
}
