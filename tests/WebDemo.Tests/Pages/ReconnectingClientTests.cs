using System.Text.RegularExpressions;
using Broadcast.Middleware;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace WebDemo.Tests;

/// <summary>Runs the JavaScript clients of docs/guides/clients.md in a browser.</summary>
public sealed partial class ReconnectingClientTests(BrowserFixture browser)
{
    [Theory]
    [InlineData("connect")]
    [InlineData("listen")]
    public async Task Client_ConnectionBecomesSilent_ConnectsAgain(string client)
    {
        var token = TestContext.Current.CancellationToken;
        var markdown = await File.ReadAllTextAsync(Path.Combine(AppContext.BaseDirectory, "clients.md"), token);
        var script = string.Concat(Blocks().Matches(markdown).Select(match => match.Groups[1].Value));
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        builder.Services.AddBroadcast(options => (options.HeartbeatMessage, options.HeartbeatInterval) = ("heartbeat", TimeSpan.FromSeconds(1)));
        await using var app = builder.Build();
        app.MapGet("/", () => Results.Content("<link rel=icon href=data:,>", "text/html"));
        app.MapGet("/clients.js", () => Results.Text(script, "text/javascript"));
        app.MapBroadcast("/ws");
        await app.StartAsync(token);
        await using var proxy = new FaultProxy(new Uri(app.Urls.Single()), [], static () => Task.CompletedTask);
        proxy.Start();
        await using var window = await browser.OpenAsync(proxy.Url);
        var registry = app.Services.GetRequiredService<IConnectionRegistry>();

        await window.Page.EvaluateAsync("""
            async client => {
                const clients = await import('/clients.js');
                window.received = [];
                if (client === 'connect') clients.connect(`ws://${location.host}/ws`, data => received.push(data), { silence: 6000 });
                else clients.listen('/ws', data => received.push(data), 6000);
            }
            """, client);
        await WaitAsync(() => registry.CountGroupMembers("/ws") == 1);
        var first = registry.Connections.Single().Id;
        await PublishAsync("before");
        await window.Page.WaitForFunctionAsync("() => received.length === 1");
        // The server sends no other messages, but its heartbeat messages keep the connection open.
        await window.Page.WaitForTimeoutAsync(7000);
        Assert.Equal(first, registry.Connections.Single().Id);

        proxy.DropResponses();
        await WaitAsync(() => registry.GetGroupMembers("/ws").Any(connection => connection.Id != first));
        // On a busy machine, the client can miss heartbeat messages and connect again. It then misses a message.
        var published = new List<string> { "before" };
        for (var number = 1; await window.Page.EvaluateAsync<int>("() => received.length") < 2; number++)
        {
            Assert.InRange(number, 1, TestLimits.Wait.TotalSeconds);
            published.Add($"after {number}");
            await PublishAsync(published[^1]);
            await window.Page.WaitForTimeoutAsync(1000);
        }

        var received = await window.Page.EvaluateAsync<string[]>("() => received");
        Assert.Equal(published.Where(received.Contains), received);
        Assert.Equal("before", received[0]);

        async Task PublishAsync(string text) => await app.Services.GetRequiredService<IBroadcaster>()
            .PublishAsync(text, Recipients.Group("/ws"), cancellationToken: token);
    }

    static async Task WaitAsync(Func<bool> condition)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        limit.CancelAfter(TestLimits.Wait);
        while (!condition()) await Task.Delay(20, limit.Token);
    }

    [GeneratedRegex("```js\n(export .*?)```", RegexOptions.Singleline)]
    private static partial Regex Blocks();
}
