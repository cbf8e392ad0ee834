using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;

namespace Broadcast.Middleware.Testing.Hosting;

/// <summary>
/// Sets the user of each request to the user of the test client, before the middleware of the app runs.
/// </summary>
sealed class TestClientMiddleware : IStartupFilter
{
    public Action<IApplicationBuilder> Configure(Action<IApplicationBuilder> next) => app =>
    {
        app.Use(InvokeAsync);
        next(app);
    };

    /// <summary>A connect filter that stores the context of the connection for the test client.</summary>
    public static async Task TrackAsync(ConnectContext context, FilterDelegate<ConnectContext> next)
    {
        var client = context.HttpContext.Features.Get<TestClientState>();
        client?.Context = context;
        try
        {
            await next(context);
        }
        finally
        {
            client?.OnConnected();
        }
    }

    static async Task InvokeAsync(HttpContext context, RequestDelegate next)
    {
        var client = context.Features.Get<TestClientState>();
        if (client?.User is { } user) context.User = user;
        try
        {
            await next(context);
        }
        finally
        {
            client?.OnConnected();
        }
    }
}
