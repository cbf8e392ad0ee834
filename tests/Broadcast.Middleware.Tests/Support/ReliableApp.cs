using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Tests.Support;

/// <summary>Starts apps with a manual clock. Their clients may join and publish to any group.</summary>
static class ReliableApp
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    public static Task<BroadcastApp> StartAsync(
        RecoveryClock clock,
        Action<BroadcastOptions>? options = null,
        Action<WebApplication>? map = null,
        Action<WebApplicationBuilder>? configure = null,
        HttpProtocols protocols = HttpProtocols.Http1) => BroadcastApp.StartAsync(
        builder =>
        {
            TestUsers.Add(builder);
            builder.Services.AddSingleton<TimeProvider>(clock).AddSingleton<IGroupAuthorizer>(Rules.AllowAll);
            configure?.Invoke(builder);
        },
        map,
        all =>
        {
            (all.RecoveryTimeout, all.KeepAliveInterval) = (RecoveryClock.Timeout, Timeout.InfiniteTimeSpan);
            options?.Invoke(all);
        },
        protocols);

    public static BroadcastInstance Inside(this BroadcastApp app) => app.Services.GetRequiredKeyedService<BroadcastInstance>("");

    /// <summary>The bytes that the server keeps for clients that have not acknowledged them.</summary>
    public static long Kept(this BroadcastApp app) => app.Inside().Groups.GetSettings("").Budget!.Used;

    public static async Task PublishAsync(this BroadcastApp app, params string[] messages)
    {
        foreach (var message in messages) await app.Broadcaster.PublishAsync(message, cancellationToken: Token);
    }

    public static async Task PublishToAsync(this BroadcastApp app, Recipients recipients, params string[] messages)
    {
        foreach (var message in messages) await app.Broadcaster.PublishAsync(message, recipients, cancellationToken: Token);
    }

    /// <summary>Waits until no connections, no groups and no kept bytes are left, except the group of all connections.</summary>
    public static async Task IsEmptyAsync(this BroadcastApp app)
    {
        await Eventually.True(() => app.Registry.Count == 0);
        await Eventually.True(() => app.Inside().Groups.Count == 0);
        await Eventually.True(() => app.Kept() == 0);
    }
}
