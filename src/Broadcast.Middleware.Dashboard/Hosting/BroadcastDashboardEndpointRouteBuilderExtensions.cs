using System.Diagnostics.CodeAnalysis;
using Broadcast.Middleware.Dashboard.Access;
using Broadcast.Middleware.Dashboard.Assets;
using Broadcast.Middleware.Dashboard.Diagnostics;
using Broadcast.Middleware.Dashboard.Hosting;
using Broadcast.Middleware.Hosting;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Microsoft.AspNetCore.Builder;

/// <summary>Maps the dashboard to a URL.</summary>
public static class BroadcastDashboardEndpointRouteBuilderExtensions
{
    static readonly string[] _pageMethods = [HttpMethods.Get, HttpMethods.Head];

    /// <summary>
    /// Maps the dashboard of the default broadcast to a URL. The dashboard is a live page. The page shows connections,
    /// groups, message rates, latency, drops, slow clients and nodes. A user of the page can also publish messages and
    /// close connections.
    /// </summary>
    /// <remarks>
    /// <para>
    /// By default, the dashboard is closed to users. To open the dashboard to users, call <c>RequireAuthorization</c>
    /// on the result. Without an authorization policy, the dashboard answers only requests from the same computer in
    /// the environment <c>Development</c>. All other requests get status 404, and the log names the missing setting.
    /// If the policy refuses a request, the log names the policy.
    /// <c>AllowAnonymous</c> and a fallback policy do not open the dashboard.
    /// </para>
    /// <para>
    /// A user of the dashboard can read the messages of all groups, publish to all groups, and close all connections.
    /// The dashboard has its own connections. The figures of the broadcast do not contain these connections. The server
    /// measures only while at least one page is open.
    /// </para>
    /// </remarks>
    /// <param name="endpoints">The app, or a route group.</param>
    /// <param name="pattern">
    /// The URL of the page, for example <c>/broadcast</c>. The dashboard also uses URLs that start with this URL.
    /// </param>
    /// <returns>
    /// A builder that adds conventions to all URLs of the dashboard, for example <c>RequireAuthorization</c>.
    /// </returns>
    /// <exception cref="InvalidOperationException">
    /// The app did not call <c>AddBroadcast</c>, or the versions of the packages differ.
    /// </exception>
    public static IEndpointConventionBuilder MapBroadcastDashboard(
        this IEndpointRouteBuilder endpoints, [StringSyntax("Route")] string pattern) =>
        endpoints.MapBroadcastDashboard(pattern, "");

    /// <summary>Maps the dashboard of a broadcast to a URL.</summary>
    /// <param name="endpoints">The app, or a route group.</param>
    /// <param name="pattern">
    /// The URL of the page, for example <c>/broadcast</c>. The dashboard also uses URLs that start with this URL.
    /// </param>
    /// <param name="name">
    /// The name of the broadcast, as in the call of <c>AddBroadcast</c>. Empty for the default broadcast.
    /// </param>
    /// <returns>
    /// A builder that adds conventions to all URLs of the dashboard, for example <c>RequireAuthorization</c>.
    /// </returns>
    /// <exception cref="InvalidOperationException">
    /// The app did not call <c>AddBroadcast</c> for this broadcast, or the versions of the packages differ.
    /// </exception>
    /// <inheritdoc cref="MapBroadcastDashboard(IEndpointRouteBuilder, string)" path="/remarks"/>
    public static IEndpointConventionBuilder MapBroadcastDashboard(
        this IEndpointRouteBuilder endpoints, [StringSyntax("Route")] string pattern, string name)
    {
        ArgumentNullException.ThrowIfNull(endpoints);
        ArgumentNullException.ThrowIfNull(pattern);
        ArgumentNullException.ThrowIfNull(name);
        PackageVersion.ThrowIfDifferent();
        var services = endpoints.ServiceProvider;
        var broadcast = EndpointMapper.GetBroadcast(endpoints, $"MapBroadcastDashboard(\"{pattern}\")", name);
        var logger = new DashboardLogger(
            services.GetRequiredService<ILoggerFactory>().CreateLogger("Broadcast.Dashboard"));
        var access = new DashboardAccess(pattern, services.GetRequiredService<IWebHostEnvironment>(), logger);
        var group = endpoints.MapGroup(pattern.TrimEnd('/'));
        foreach (var asset in Asset.All)
            group.MapMethods(asset.Path, _pageMethods, asset.RespondAsync).WithDisplayName($"{pattern} ({asset.Name})");
        DashboardEndpoint.Map(group, broadcast, name, logger);
        // Add the access check after all conventions of the app, so that the check wraps the final request delegate.
        var refusals = new RefusalLogger(pattern, logger);
        ((IEndpointConventionBuilder)group).Finally(endpoint =>
        {
            // Without a policy, the access check logs the refusal.
            if (endpoint.Metadata.OfType<IAuthorizeData>().Any()) endpoint.Metadata.Add(refusals);
            endpoint.RequestDelegate = access.Protect(endpoint.RequestDelegate!);
        });
        return group;
    }
}
