using System.Net;
using System.Net.WebSockets;
using Microsoft.AspNetCore.Authentication.Cookies;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.HttpOverrides;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using OpenTelemetry;
using OpenTelemetry.Metrics;
using OpenTelemetry.Trace;
using StackExchange.Redis;
using Yarp.ReverseProxy.Transforms;
using static Broadcast.Middleware.Tests.Documentation.Market;

namespace Broadcast.Middleware.Tests.Documentation;

/// <summary>Contains the code of the pages in docs/operations.</summary>
static class OperationSnippets
{
    public static void SharedScope(WebApplication app)
    {
        app.MapBroadcast("/ws", options => options.GroupScope = "").RequireHost("a.example", "b.example");  // one group, named /ws
    }

    public static void EmptyScope(WebApplicationBuilder builder)
    {
        builder.Services.AddBroadcast(options => options.GroupScope = "");
    }

    public static void Origins(WebApplicationBuilder builder, HashSet<string> tenants)
    {
        builder.Services.AddBroadcast(options => options.IsOriginAllowed = origin => tenants.Contains(origin));
    }

    public static void Yarp(WebApplicationBuilder builder)
    {
        builder.Services.AddReverseProxy()
            .LoadFromConfig(builder.Configuration.GetSection("ReverseProxy"))
            .AddTransforms(context => context.AddOriginalHost());
    }

    public static void MapYarp(WebApplication app)
    {
        app.MapReverseProxy();
    }

    public static void ForwardedHeaders_(WebApplicationBuilder builder, WebApplication app)
    {
        builder.Services.Configure<ForwardedHeadersOptions>(options =>
        {
            options.ForwardedHeaders = ForwardedHeaders.XForwardedFor | ForwardedHeaders.XForwardedProto | ForwardedHeaders.XForwardedHost;
            options.KnownProxies.Add(IPAddress.Parse("10.0.0.5"));
        });

        app.UseForwardedHeaders();   // before all other middleware
    }

    public static void CookieScheme(WebApplication app)
    {
        app.MapBroadcast("/ws").RequireAuthorization(policy => policy
            .AddAuthenticationSchemes(CookieAuthenticationDefaults.AuthenticationScheme)
            .RequireAuthenticatedUser());
    }

    public static void Health(WebApplicationBuilder builder, WebApplication app)
    {
        builder.Services.AddBroadcast().AddRedis("localhost:6379", options => options.Prefix = "shop");
        builder.Services.AddHealthChecks().AddBroadcastRedis();

        app.MapHealthChecks("/health");
    }

    public static void Metrics(WebApplicationBuilder builder)
    {
        builder.Services.AddOpenTelemetry().WithMetrics(metrics => metrics.AddBroadcastInstrumentation());
    }

    public static void Traces(WebApplicationBuilder builder)
    {
        builder.Services.AddOpenTelemetry()
            .WithMetrics(metrics => metrics.AddBroadcastInstrumentation())
            .WithTracing(tracing => tracing.AddBroadcastInstrumentation().AddSource("Microsoft.AspNetCore"))
            .UseOtlpExporter();
    }

    public static void SampledTraces(WebApplicationBuilder builder)
    {
        builder.Services.AddOpenTelemetry().WithTracing(tracing => tracing
            .AddBroadcastInstrumentation()
            .SetSampler(new ParentBasedSampler(new TraceIdRatioBasedSampler(0.01))));
    }

    public static void OwnConnection(WebApplicationBuilder builder)
    {
        builder.Services.AddBroadcast().AddRedis(services => services.GetRequiredService<IConnectionMultiplexer>(), options => options.Prefix = "shop");
    }

    public static void Sentinel(WebApplicationBuilder builder)
    {
        builder.Services.AddBroadcast().AddRedis(
            "sentinel1:26379,sentinel2:26379,sentinel3:26379,serviceName=mymaster", options => options.Prefix = "shop");
    }

    public static void Timeouts(WebApplicationBuilder builder)
    {
        builder.Services.AddBroadcast(options => options.DrainTimeout = TimeSpan.FromSeconds(20));
        builder.Services.Configure<HostOptions>(options => options.ShutdownTimeout = TimeSpan.FromSeconds(30));
    }

    public static void Limits(WebApplicationBuilder builder)
    {
        builder.Services.AddBroadcast(options =>
        {
            options.MaxConnections = 20_000;
            options.MaxConnectionsPerUser = 10;
            options.MaxConnectionsPerAddress = 100;
            options.MaxMessageBytes = 4 * 1024;
            options.MaxMessagesPerSecond = 10;
        });
    }

    public static void Secure(WebApplication app)
    {
        app.MapBroadcast("/rooms/{room:regex(^[a-z0-9]{{1,20}}$)}", options => options.AllowedOrigins.Add("https://www.example.com"))
            .RequireAuthorization();
    }

    public static void Revalidate(WebApplicationBuilder builder)
    {
        builder.Services.AddSingleton<IConnectionRevalidator, UserRevalidator>();
        builder.Services.AddBroadcast(options => options.RevalidationInterval = TimeSpan.FromMinutes(1));
    }

    public static async Task CloseAsync(IBroadcaster broadcaster, string connectionId)
    {
        await broadcaster.CloseAsync(connectionId, (WebSocketCloseStatus)4001, "You have been removed.");   // final
        await broadcaster.CloseAsync(connectionId, (WebSocketCloseStatus)1012, "Connect again.");           // the browser reconnects
    }
}

static class Market
{
    public static object GetPrices() => new { aapl = 1 };
}

sealed class UserStore
{
    public Task<bool> IsActiveAsync(string? userId, CancellationToken cancellationToken) => Task.FromResult(userId is not null);
}

sealed class UserRevalidator(UserStore users) : IConnectionRevalidator
{
    public async ValueTask<bool> IsValidAsync(IBroadcastConnection connection, CancellationToken cancellationToken) =>
        await users.IsActiveAsync(connection.UserId, cancellationToken);   // false: the server closes the connection with 1008
}

sealed class Goodbye(IBroadcaster broadcaster) : IHostedService
{
    public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public async Task StopAsync(CancellationToken cancellationToken) =>
        await broadcaster.PublishAsync("The server restarts.", Recipients.Everyone, cancellationToken: cancellationToken);
}

public sealed class PriceService(IBroadcaster broadcaster, ILogger<PriceService> logger) : BackgroundService
{
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(TimeSpan.FromSeconds(1));
        while (await timer.WaitForNextTickAsync(stoppingToken))
        {
            try
            {
                await broadcaster.PublishAsync(GetPrices(), Recipients.Group("/prices"), cancellationToken: stoppingToken);
            }
            catch (BackplaneException exception)
            {
                // The next tick publishes newer prices, so this message need not be repeated.
                logger.LogWarning("The prices were not published. {Problem}", exception.Message);
            }
        }
    }
}
