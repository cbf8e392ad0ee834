using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Tests.Documentation;

/// <summary>Contains the code of docs/operations/dashboard.md.</summary>
static class DashboardSnippets
{
    public static void Start(WebApplicationBuilder builder)
    {
        builder.Services.AddBroadcast();
        var app = builder.Build();
        app.MapBroadcast("/ws");
        app.MapBroadcastDashboard("/broadcast");
    }

    public static void Policy(WebApplicationBuilder builder)
    {
        builder.Services.AddAuthorizationBuilder().AddPolicy("Operator", policy => policy.RequireRole("Operator"));
        var app = builder.Build();
        app.MapBroadcastDashboard("/broadcast").RequireAuthorization("Operator");
    }

    public static void Port(WebApplication app)
    {
        app.MapBroadcastDashboard("/broadcast").RequireAuthorization("Operator").RequireHost("*:9000");
    }

    public static void Named(WebApplicationBuilder builder)
    {
        builder.Services.AddBroadcast("admin");
        var app = builder.Build();
        app.MapBroadcastDashboard("/broadcast/admin", "admin").RequireAuthorization("Operator");
    }
}
