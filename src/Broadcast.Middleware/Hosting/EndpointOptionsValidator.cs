using Microsoft.Extensions.Options;

namespace Broadcast.Middleware.Hosting;

/// <summary>Checks the options of an endpoint, and reports all problems together.</summary>
static class EndpointOptionsValidator
{
    /// <param name="pattern">The route pattern of the endpoint.</param>
    /// <param name="options">The options of the endpoint.</param>
    /// <param name="maxBacklogBytes">See <see cref="BroadcastOptions.MaxBacklogBytes"/>.</param>
    /// <exception cref="OptionsValidationException">At least one option is invalid.</exception>
    public static void ThrowIfInvalid(string? pattern, BroadcastEndpointOptions options, int maxBacklogBytes)
    {
        var problems = new OptionProblems();
        problems.CheckEndpoint(options, maxBacklogBytes);
        if (problems.All.Count == 0) return;
        var failures = problems.All.Select(problem => $"MapBroadcast(\"{pattern}\"): {problem}");
        throw new OptionsValidationException(pattern ?? "", typeof(BroadcastEndpointOptions), failures);
    }
}
