using Broadcast.Middleware;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Broadcast.Fuzz;

/// <summary>
/// Fuzzes the bytes that a client sends after its handshake. For any bytes, the server removes the connection, logs no
/// error, and writes only whole frames.
/// </summary>
static class ConnectionTarget
{
    static readonly WebApplication App = CreateApp();
    static readonly RequestDelegate Endpoint = ((IEndpointRouteBuilder)App).DataSources.Single().Endpoints.Single().RequestDelegate!;
    static readonly IConnectionRegistry Connections = App.Services.GetRequiredService<IConnectionRegistry>();

    public static void Run(ReadOnlyMemory<byte> input)
    {
        var stream = new ClientStream(input);
        var context = new DefaultHttpContext { RequestServices = App.Services };
        context.Request.Method = HttpMethods.Get;
        context.Request.Protocol = HttpProtocol.Http11;
        context.Request.Headers.Connection = "Upgrade";
        context.Request.Headers.Upgrade = "websocket";
        context.Request.Headers.SecWebSocketVersion = "13";
        context.Request.Headers.SecWebSocketKey = "dGhlIHNhbXBsZSBub25jZQ==";
        context.Features.Set<IHttpUpgradeFeature>(stream);
        context.Features.Set<IHttpRequestLifetimeFeature>(stream);
        if (!Endpoint(context).Wait(TimeSpan.FromSeconds(20))) throw new TimeoutException("The connection has not ended after 20 seconds.");
        if (Connections.Count != 0 || Connections.CountGroupMembers("/ws") != 0) throw new InvalidOperationException("The registry still contains the connection.");
        CheckFrames(stream.Written);
    }

    static void CheckFrames(ReadOnlySpan<byte> written)
    {
        while (written.Length > 0)
        {
            var isWhole = written.Length >= 2 && (written[0] & 0xF0) == 0x80 && (written[0] & 0x0F) is 1 or 2 or 8 or 9 or 10;
            if (!isWhole) throw new InvalidOperationException("The server wrote invalid bytes instead of a frame.");
            var (header, length) = (written[1], written.Length) switch
            {
                (126, >= 4) => (4, (written[2] << 8) | written[3]),
                (127, >= 10) => (10, (written[6] << 24) | (written[7] << 16) | (written[8] << 8) | written[9]),
                ( < 126, _) => (2, written[1]),
                _ => (written.Length + 1, 0),
            };
            if (header + length > written.Length) throw new InvalidOperationException("The server wrote an incomplete frame.");
            written = written[(header + length)..];
        }
    }

    static WebApplication CreateApp()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders().AddProvider(new FailOnErrorLogger());
        builder.Services.AddBroadcast(options => options.MaxMessageBytes = 4096);
        var app = builder.Build();
        app.MapBroadcast("/ws");
        return app;
    }
}
