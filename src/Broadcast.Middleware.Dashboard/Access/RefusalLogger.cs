using System.Collections.Concurrent;
using Broadcast.Middleware.Dashboard.Diagnostics;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Http;

namespace Broadcast.Middleware.Dashboard.Access;

/// <summary>
/// Logs a warning if the authorization policy of the dashboard refuses a request. The endpoint does not run after a
/// refusal. So this object is metadata of the endpoint and adds a requirement to the policy. Every user meets this
/// requirement, so the requirement changes no decision.
/// </summary>
/// <param name="pattern">The pattern of the dashboard, for the log.</param>
/// <param name="logger">The logger.</param>
sealed class RefusalLogger(string pattern, DashboardLogger logger)
    : IAuthorizationRequirementData, IAuthorizationRequirement, IAuthorizationHandler
{
    readonly ConcurrentDictionary<(int Status, bool IsSignedIn), bool> _logged = new();

    public IEnumerable<IAuthorizationRequirement> GetRequirements() => [this];

    public Task HandleAsync(AuthorizationHandlerContext context)
    {
        context.Succeed(this);
        if (context.Resource is not HttpContext { Response.HasStarted: false } request) return Task.CompletedTask;
        var endpoint = request.GetEndpoint();
        // The response starts after all requirements of the policy have been checked.
        request.Response.OnStarting(() =>
        {
            var status = request.Response.StatusCode;
            var isSignedIn = context.User.Identity is { IsAuthenticated: true };
            if (!context.HasSucceeded && _logged.TryAdd((status, isSignedIn), true))
                logger.Refused(pattern, status, isSignedIn ? "a signed-in" : "an anonymous", GetPolicy(endpoint));
            return Task.CompletedTask;
        });
        return Task.CompletedTask;
    }

    /// <summary>Returns the arguments of <c>RequireAuthorization</c>, if they are names of policies.</summary>
    static string GetPolicy(Endpoint? endpoint)
    {
        var names = endpoint?.Metadata.GetOrderedMetadata<IAuthorizeData>().Select(static data => data.Policy) ?? [];
        return string.Join(", ", names.Select(static name => string.IsNullOrEmpty(name) ? "…" : $"\"{name}\""));
    }
}
