using System.Net;
using Broadcast.Middleware;
using Broadcast.Recipes.Tests.Blazor;
using Broadcast.Recipes.Tests.Grpc;
using Microsoft.AspNetCore.DataProtection;
using Microsoft.AspNetCore.Server.Kestrel.Core;

namespace Broadcast.Recipes.Tests;

/// <summary>An app with the recipes of docs/guides/readers.md, on free loopback ports.</summary>
sealed class RecipeApp : IAsyncDisposable
{
    readonly WebApplication _app;

    RecipeApp(WebApplication app) => _app = app;

    public IBroadcaster Broadcaster => _app.Services.GetRequiredService<IBroadcaster>();

    /// <summary>The URL for HTTP/1.1.</summary>
    public string Url => _app.Urls.First();

    /// <summary>The URL for HTTP/2 without TLS.</summary>
    public string GrpcUrl => _app.Urls.Last();

    public static async Task<RecipeApp> StartAsync()
    {
        var builder = WebApplication.CreateBuilder(new WebApplicationOptions
        {
            ApplicationName = typeof(RecipeApp).Assembly.GetName().Name,
            ContentRootPath = AppContext.BaseDirectory,
            EnvironmentName = "Development",
        });
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            kestrel.Listen(IPAddress.Loopback, 0, static endpoint => endpoint.Protocols = HttpProtocols.Http1);
            kestrel.Listen(IPAddress.Loopback, 0, static endpoint => endpoint.Protocols = HttpProtocols.Http2);
        });
        builder.Services.AddBroadcast(options => options.Groups["/orders"] = new() { HistoryMessages = 100 });
        builder.Services.AddGrpc();
        builder.Services.AddDataProtection().UseEphemeralDataProtectionProvider();
        builder.Services.AddRazorComponents().AddInteractiveServerComponents();
        var app = builder.Build();
        app.UseAntiforgery();
        app.MapGrpcService<OrderService>();
        app.MapStaticAssets();
        app.MapRazorComponents<App>().AddInteractiveServerRenderMode();
        app.MapOrderEvents();
        await app.StartAsync(TestContext.Current.CancellationToken);
        return new(app);
    }

    public Task StopAsync() => _app.StopAsync(TestContext.Current.CancellationToken);

    public async Task PublishAsync(string group, string text, string? key = null) =>
        await Broadcaster.PublishAsync(text, Recipients.Group(group), key, TestContext.Current.CancellationToken);

    public ValueTask DisposeAsync() => _app.DisposeAsync();
}
