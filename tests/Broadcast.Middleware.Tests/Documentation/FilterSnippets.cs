using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Tests.Documentation;

/// <summary>
/// Contains the C# code of docs/guides/subscription-filters.md, so that the compiler checks the code.
/// <see cref="FilterDocumentationTests"/> runs a part of this code. <see cref="SnippetTests"/> compares the page with
/// this file.
/// </summary>
static class FilterSnippets
{
    public static void Publish(WebApplication app)
    {
        app.MapPost("/orders/{id}/{region}", (string id, string region, IBroadcaster broadcaster) =>
            broadcaster.PublishAsync(
                Message.FromText($"order {id}") with { Tags = MessageTags.Create(("region", region), ("kind", "order")) },
                Recipients.Group("/orders")));
    }

    public static void ServerFilter(WebApplication app)
    {
        app.MapBroadcast("/orders").UseConnect((context, next) =>
        {
            // An employee sees only the orders of the own region.
            var region = context.HttpContext.User.FindFirst("region")?.Value ?? "none";
            context.Filter = SubscriptionFilter.TagEquals("region", region);
            return next(context);
        });
    }

    public static async Task JoinAsync(IBroadcaster broadcaster, string connectionId)
    {
        var filter = SubscriptionFilter.All(
            SubscriptionFilter.TagIn("region", "eu", "us"),
            SubscriptionFilter.Not(SubscriptionFilter.TagEquals("kind", "test")));
        await broadcaster.JoinAsync(connectionId, "/audit", Replay.Last(20), filter);
    }

    public static void ClientFilters(WebApplication app)
    {
        app.MapBroadcast("/orders", options => options.AllowClientFilters = true);
    }

    sealed class RegionAuthorizer : IGroupAuthorizer
    {
        public ValueTask<bool> AuthorizeAsync(IBroadcastConnection connection, string group, GroupOperation operation) =>
            new(operation == GroupOperation.Join && connection.UserId is not null);

        public ValueTask<SubscriptionFilter?> GetFilterAsync(IBroadcastConnection connection, string group) =>
            new(SubscriptionFilter.TagEquals("region", connection.User.FindFirst("region")?.Value ?? "none"));
    }

    public static void Authorizer(WebApplicationBuilder builder)
    {
        builder.Services.AddSingleton<IGroupAuthorizer, RegionAuthorizer>();
    }

    public static void Delegate(WebApplication app)
    {
        app.MapBroadcast("/big-orders").UseConnect((context, next) =>
        {
            context.Filter = SubscriptionFilter.All(
                SubscriptionFilter.TagEquals("kind", "order"),
                SubscriptionFilter.FromDelegate(message => message.Payload.Length > 1000));
            return next(context);
        });
    }
}
