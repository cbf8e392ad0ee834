using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Options;

namespace Broadcast.Middleware.Hosting;

/// <summary>
/// Checks that the shutdown timeout of the host is longer than the drain timeout. Otherwise the host would abort
/// connections before the end of the drain.
/// </summary>
/// <param name="host">The options of the host.</param>
/// <param name="lifetime">The lifetime of the app. Null if the app has no host.</param>
sealed class DrainTimeoutValidator(IOptions<HostOptions> host, IHostApplicationLifetime? lifetime = null)
    : IValidateOptions<BroadcastOptions>
{
    public ValidateOptionsResult Validate(string? name, BroadcastOptions options)
    {
        // Skip the check if the app has no host or has disabled the drain.
        if (lifetime is null || options.DrainTimeout <= TimeSpan.Zero) return ValidateOptionsResult.Skip;
        const string Drain = nameof(options.DrainTimeout);
        const string Shutdown = $"{nameof(HostOptions)}.{nameof(HostOptions.ShutdownTimeout)}";
        var timeout = host.Value.ShutdownTimeout;
        if (timeout == Timeout.InfiniteTimeSpan || options.DrainTimeout < timeout) return ValidateOptionsResult.Success;
        var problem =
            $"{Drain} is {options.DrainTimeout}, but {Shutdown} is {timeout}. Lower {Drain}, or raise {Shutdown}.";
        return BroadcastOptionsValidator.CreateResult(name, [problem]);
    }
}
