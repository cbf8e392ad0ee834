using System.Text.RegularExpressions;
using Microsoft.Extensions.Options;
using StackExchange.Redis;

namespace Broadcast.Middleware;

/// <summary>Finds all that is wrong with the options at once.</summary>
sealed partial class RedisBackplaneOptionsValidator(IEnumerable<RedisConnectionSource> sources) : IValidateOptions<RedisBackplaneOptions>
{
    public ValidateOptionsResult Validate(string? name, RedisBackplaneOptions options)
    {
        var problems = new List<string>();
        if (string.IsNullOrEmpty(options.Prefix))
            problems.Add($"{nameof(options.Prefix)} is empty: set it to the app's name, so that apps which share a Redis hear nothing of each other.");
        else if (!ValidPrefix().IsMatch(options.Prefix))
            problems.Add($"{nameof(options.Prefix)} is '{options.Prefix}': write up to 100 of the letters A to Z and a to z, digits, and . _ : -");
        if (!sources.Any(source => source.Name == (name ?? ""))) CheckConfiguration(options.Configuration);
        Time(nameof(options.PublishTimeout), options.PublishTimeout, TimeSpan.FromMilliseconds(100), TimeSpan.FromHours(1));
        if (!Enum.IsDefined(options.WhenUnreachable))
            problems.Add($"{nameof(options.WhenUnreachable)} is {options.WhenUnreachable}: set it to {string.Join(" or ", Enum.GetNames<WhenUnreachable>())}.");
        InRange(nameof(options.MaxOutboxBytes), options.MaxOutboxBytes, 1 << 16, 1L << 40);
        InRange(nameof(options.RepairMessages), options.RepairMessages, 1, 10_000_000);
        InRange(nameof(options.RepairBytes), options.RepairBytes, 1024, 1 << 30);
        Time(nameof(options.RepairAge), options.RepairAge, TimeSpan.FromSeconds(10), TimeSpan.FromDays(1));
        Time(nameof(options.CheckInterval), options.CheckInterval, TimeSpan.FromMilliseconds(100), TimeSpan.FromMinutes(1));
        Time(nameof(options.NodeTimeout), options.NodeTimeout, TimeSpan.FromSeconds(3), TimeSpan.FromSeconds(15));
        if (problems.Count == 0) return ValidateOptionsResult.Success;
        var broadcast = string.IsNullOrEmpty(name) ? "" : $" of broadcast '{name}'";
        return ValidateOptionsResult.Fail(problems.Select(problem => $"{nameof(RedisBackplaneOptions)}{broadcast}: {problem}"));

        void CheckConfiguration(string? configuration)
        {
            try
            {
                if (!string.IsNullOrWhiteSpace(configuration) && ConfigurationOptions.Parse(configuration).EndPoints.Count > 0) return;
                problems.Add($"{nameof(options.Configuration)} names no server: set it to, say, localhost:6379, or hand over a connection.");
            }
            catch (ArgumentException exception)
            {
                problems.Add($"{nameof(options.Configuration)} cannot be read: {exception.Message}");
            }
        }

        void InRange(string option, long value, long least, long most)
        {
            if (value < least || value > most) problems.Add($"{option} is {value}: set it from {least} to {most}.");
        }

        void Time(string option, TimeSpan value, TimeSpan least, TimeSpan most)
        {
            if (value < least || value > most) problems.Add($"{option} is {value}: set it from {least} to {most}.");
        }
    }

    [GeneratedRegex(@"\A[A-Za-z0-9._:-]{1,100}\z")]
    private static partial Regex ValidPrefix();
}
