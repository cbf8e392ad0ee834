using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Broadcast.Middleware.Tests.Documentation;

/// <summary>Contains the code of docs/guides/live-updates.md.</summary>
static class LiveUpdatesGuide
{
    public static void Map(WebApplication app)
    {
        app.MapBroadcast("/status").Use((context, next) => Task.CompletedTask);   // read-only: the server drops messages of clients

        app.MapPost("/orders/{id}/ship", async (string id, OrderStore orders, IBroadcaster broadcaster) =>
        {
            var order = await orders.ShipAsync(id);
            await broadcaster.PublishAsync(order, Recipients.User(order.Customer));   // to all devices of the customer
            await broadcaster.PublishAsync(order, Recipients.Group("/status"));       // to the dashboard
            return Results.NoContent();
        });
    }

    public static void AddVisitors(WebApplicationBuilder builder)
    {
        builder.Services.AddHostedService<VisitorCounter>();
    }
}

sealed record Order(string Id, string Customer, string Status);

sealed class OrderStore
{
    public Task<Order> ShipAsync(string id) => Task.FromResult(new Order(id, "ann", "shipped"));
}

sealed class VisitorCounter(IBroadcaster broadcaster, IPresence presence, ILogger<VisitorCounter> logger) : BackgroundService
{
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(TimeSpan.FromSeconds(1));
        while (await timer.WaitForNextTickAsync(stoppingToken))
        {
            try
            {
                var visitors = await presence.CountAsync("/status", stoppingToken);
                await broadcaster.PublishAsync(new { visitors }, Recipients.Group("/status"), key: "visitors", cancellationToken: stoppingToken);
            }
            catch (BackplaneException exception)
            {
                logger.LogWarning("The number of visitors was not published. {Problem}", exception.Message);
            }
        }
    }
}
