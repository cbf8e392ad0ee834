using System.Collections.Concurrent;
using System.Net;
using Broadcast.Middleware.Dashboard.Diagnostics;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Hosting;

namespace Broadcast.Middleware.Dashboard.Access;

/// <summary>
/// Decides who may open the dashboard. With an authorization policy, the authorization middleware decides. Without a
/// policy, only a browser on this computer may open the dashboard, and only in the environment Development. Other
/// requests get status 404.
/// </summary>
/// <param name="pattern">The pattern of the dashboard, for the log.</param>
/// <param name="environment">The environment of the app.</param>
/// <param name="logger">The logger.</param>
sealed class DashboardAccess(string pattern, IHostEnvironment environment, DashboardLogger logger)
{
    readonly ConcurrentDictionary<string, bool> _logged = new(StringComparer.Ordinal);

    /// <summary>Returns a request delegate that checks the access first.</summary>
    public RequestDelegate Protect(RequestDelegate next) => context =>
    {
        if (FindProblem(context) is not { } problem) return next(context);
        if (_logged.TryAdd(problem, true)) logger.Hidden(pattern, problem);
        context.Response.StatusCode = StatusCodes.Status404NotFound;
        return Task.CompletedTask;
    };

    /// <summary>
    /// Returns the reason why the user must not open the dashboard. Returns null if the user may open the dashboard.
    /// </summary>
    string? FindProblem(HttpContext context)
    {
        var metadata = context.GetEndpoint()?.Metadata;
        var isAnonymous = metadata?.GetMetadata<IAllowAnonymous>() is not null;
        // If the authorization middleware did not run, ASP.NET Core throws an exception for an endpoint with this
        // metadata.
        if (!isAnonymous && metadata?.GetMetadata<IAuthorizeData>() is not null) return null;
        if (!environment.IsDevelopment())
        {
            return isAnonymous
                ? "The dashboard allows anonymous users, so no authorization policy applies."
                : "The dashboard has no authorization policy.";
        }

        if (context.Connection.RemoteIpAddress is not { } address || !IsLoopback(address))
            return "The dashboard has no authorization policy, and the request does not come from this computer.";
        // A proxy on this computer forwards the requests of other computers.
        var headers = context.Request.Headers;
        if (headers.ContainsKey("Forwarded") || headers.ContainsKey("X-Forwarded-For"))
            return "The dashboard has no authorization policy, and a proxy has forwarded the request.";
        // Another site can make its own host name resolve to the address of this computer (DNS rebinding).
        if (!IsLoopback(context.Request.Host))
            return "The dashboard has no authorization policy, and the host in the URL is not localhost.";
        return null;
    }

    static bool IsLoopback(IPAddress address) =>
        IPAddress.IsLoopback(address.IsIPv4MappedToIPv6 ? address.MapToIPv4() : address);

    static bool IsLoopback(HostString host)
    {
        var name = host.Host;
        return name.Equals("localhost", StringComparison.OrdinalIgnoreCase)
            || name.EndsWith(".localhost", StringComparison.OrdinalIgnoreCase)
            || (IPAddress.TryParse(name.Trim('[', ']'), out var address) && IsLoopback(address));
    }
}
