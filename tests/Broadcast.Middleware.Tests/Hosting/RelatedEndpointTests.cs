using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Tests.Hosting;

/// <summary>
/// Tests the startup checks of presence and refresh endpoints. These endpoints refer to the URL of a broadcast
/// endpoint.
/// </summary>
public sealed class RelatedEndpointTests
{
    [Theory]
    [InlineData("/ws/x", "/other")]
    [InlineData("/ws/x", "/ws/{a}")]
    [InlineData("/x", "/ws/x")]
    public async Task Start_BroadcastUrlIsNotMapped_Throws(string pattern, string of)
    {
        await FailsAsync(app => app.MapBroadcastPresence(pattern, of), $"MapBroadcastPresence(\"{pattern}\")", $"MapBroadcast(\"{of}\") is missing");
        await FailsAsync(app => app.MapBroadcastRefresh(pattern, of), $"MapBroadcastRefresh(\"{pattern}\")", $"MapBroadcast(\"{of}\") is missing");
    }

    [Fact]
    public async Task Start_BroadcastUrlBelongsToOtherBroadcast_Throws() =>
        await FailsAsync(app => app.MapBroadcastPresence("/x", "/ws", "other"), "for the broadcast 'other'");

    [Fact]
    public async Task Start_PatternLacksParameterOfBroadcastUrl_Throws()
    {
        await FailsAsync(
            app =>
            {
                app.MapBroadcast("/rooms/{room}");
                app.MapBroadcastPresence("/rooms/{name}/presence", "/rooms/{name}");
            },
            "no parameter {room}");
    }

    [Fact]
    public void MapPresenceOrRefresh_WithoutAddBroadcast_Throws()
    {
        var app = WebApplication.CreateSlimBuilder().Build();
        Assert.Contains("AddBroadcast", Assert.Throws<InvalidOperationException>(() => app.MapBroadcastPresence("/x", "/ws")).Message, StringComparison.Ordinal);
        Assert.Contains("AddBroadcast", Assert.Throws<InvalidOperationException>(() => app.MapBroadcastRefresh("/x", "/ws")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Start_PresenceWithoutRequiredAuthorization_Throws()
    {
        await FailsAsync(
            app =>
            {
                app.MapBroadcast("/secret").RequireAuthorization();
                app.MapBroadcastPresence("/secret/presence", "/secret");
            },
            "MapBroadcast(\"/secret\") requires authorization, but MapBroadcastPresence(\"/secret/presence\") does not",
            "AllowAnonymous()");
    }

    [Fact]
    public async Task Start_RefreshWithFewerRequirements_Throws()
    {
        foreach (var require in (Action<IEndpointConventionBuilder>[])
        [
            static endpoint => { },
            static endpoint => endpoint.RequireAuthorization(),
            static endpoint => endpoint.RequireAuthorization("other"),
            static endpoint => endpoint.RequireAuthorization("editor").AllowAnonymous(),
            static endpoint => endpoint.RequireAuthorization(new AuthorizeAttribute("editor") { Roles = "admin" }),
        ])
        {
            await FailsAsync(
                app =>
                {
                    app.MapBroadcast("/secret").RequireAuthorization("editor");
                    require(app.MapBroadcastRefresh("/secret/refresh", "/secret"));
                },
                "does not require the same");
        }
    }

    [Fact]
    public async Task Start_BroadcastUrlHasOtherConstraint_Throws() => await FailsAsync(
        static app =>
        {
            app.MapBroadcast("/r/{id:int}");
            app.MapBroadcastPresence("/r/{id:alpha}/presence", "/r/{id:alpha}");
        },
        "MapBroadcast(\"/r/{id:alpha}\") is missing");

    [Fact]
    public async Task Start_SeveralBroadcastUrlsDifferInConstraint_Throws() => await FailsAsync(
        static app =>
        {
            app.MapBroadcast("/r/{id:int}");
            app.MapBroadcast("/r/{id:alpha}");
            app.MapBroadcastPresence("/r/{id}/presence", "/r/{id}");
        },
        "MapBroadcast(\"/r/{id}\") exists several times",
        "add the constraints here, too");

    [Fact]
    public async Task Start_SeveralBroadcastUrlsHaveOtherHosts_Throws() => await FailsAsync(
        static app =>
        {
            app.MapBroadcast("/b").RequireHost("b.example");
            app.MapBroadcast("/b").RequireHost("c.example");
            app.MapBroadcastPresence("/b/presence", "/b").RequireHost("d.example");
        },
        "MapBroadcast(\"/b\") exists several times",
        "call RequireHost here, too");

    [Fact]
    public async Task Start_ConstraintOrHostIdentifiesBroadcastUrl_IsAccepted() => await StartAsync(static app =>
    {
        app.MapBroadcast("/r/{id:int}");
        app.MapBroadcast("/r/{id:alpha}");
        app.MapBroadcast("/r/{id}");
        app.MapBroadcastPresence("/r/{id}/presence", "/r/{id}");
        app.MapBroadcastPresence("/r/{id:int}/presence", "/r/{id:int}");
        app.MapBroadcastRefresh("/r/{id:alpha}/refresh", "/r/{id:alpha}");
        app.MapBroadcast("/b").RequireHost("b.example");
        app.MapBroadcast("/b").RequireHost("c.example");
        app.MapBroadcastPresence("/b/presence", "/b").RequireHost("C.EXAMPLE");
    });

    [Fact]
    public async Task Start_BroadcastUrlsDifferInConstraintAndHost_SelectsUrlOfSameHost() => await FailsAsync(
        static app =>
        {
            app.MapBroadcast("/r/{id}").RequireHost("b.example");
            app.MapBroadcast("/r/{id:int}").RequireHost("c.example").RequireAuthorization();
            app.MapBroadcastPresence("/r/{id}/presence", "/r/{id}").RequireHost("c.example");
        },
        "requires authorization");

    [Fact]
    public async Task Start_SufficientAuthorization_IsAccepted() => await StartAsync(app =>
    {
        var policy = new AuthorizationPolicyBuilder().RequireAuthenticatedUser().Build();
        var secret = app.MapGroup("").RequireAuthorization();
        secret.MapBroadcast("/a").RequireAuthorization("editor").RequireAuthorization(policy);
        secret.MapBroadcastRefresh("/a/refresh", "/a").RequireAuthorization(new AuthorizeAttribute("editor") { AuthenticationSchemes = "Test" }).RequireAuthorization(policy);
        secret.MapBroadcastPresence("/a/presence", "/a");
        secret.MapBroadcastPresence("/a/count", "/a").AllowAnonymous();
        app.MapBroadcast("/b").RequireHost("b.example");
        app.MapBroadcast("/b").RequireHost("c.example");
        app.MapBroadcastPresence("/b/presence", "/b").RequireHost("c.example");
        app.MapBroadcastRefresh("/ws/refresh", "/WS");
    });

    static async Task FailsAsync(Action<WebApplication> map, params string[] parts)
    {
        var error = await Assert.ThrowsAsync<InvalidOperationException>(() => StartAsync(map));
        Assert.All(parts, part => Assert.Contains(part, error.Message, StringComparison.Ordinal));
    }

    static async Task StartAsync(Action<WebApplication> map)
    {
        await using var app = await BroadcastApp.StartAsync(
            static builder =>
            {
                TestUsers.Add(builder);
                builder.Services.AddBroadcast("other");
                builder.Services.AddAuthorizationBuilder().AddPolicy("editor", static policy => policy.RequireRole("editor"))
                    .AddPolicy("other", static policy => policy.RequireRole("other"));
            },
            app =>
            {
                app.MapBroadcast("/ws");
                map(app);
            });
    }
}
