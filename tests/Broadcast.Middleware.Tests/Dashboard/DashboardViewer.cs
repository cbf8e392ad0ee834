using System.Text.Json;
using Microsoft.AspNetCore.Builder;

namespace Broadcast.Middleware.Tests.Dashboard;

/// <summary>A client that connects to the WebSocket of the dashboard, as the page does.</summary>
sealed class DashboardViewer(RawClient client) : IAsyncDisposable
{
    long _lastId;

    /// <summary>Runs the app in the environment Development, so that a client on this computer may open the dashboard.</summary>
    public static void InDevelopment(WebApplicationBuilder builder) => builder.Environment.EnvironmentName = "Development";

    /// <summary>Starts an app with a broadcast at /ws and its dashboard at /broadcast.</summary>
    public static Task<BroadcastApp> StartAppAsync(Action<WebApplicationBuilder>? configure = null, Action<BroadcastOptions>? options = null) =>
        BroadcastApp.StartAsync(
            builder =>
            {
                InDevelopment(builder);
                configure?.Invoke(builder);
            },
            static app =>
            {
                app.MapBroadcast("/ws");
                app.MapBroadcast("/rooms/{room}");
                app.MapBroadcastDashboard("/broadcast");
            },
            options);

    public static async Task<DashboardViewer> OpenAsync(BroadcastApp app)
    {
        var client = await RawClient.ConnectAsync(app);
        Assert.Equal(101, (await client.HandshakeAsync("/broadcast/ws")).Status);
        return new(client);
    }

    /// <summary>Reads messages of the server until one meets the condition. Returns this message.</summary>
    public async Task<JsonElement> ReadUntilAsync(Func<JsonElement, bool> condition)
    {
        while (true)
        {
            var frame = await client.ReadFrameAsync();
            Assert.Equal(ClientFrame.Text, frame.Opcode);
            var message = JsonSerializer.Deserialize<JsonElement>(frame.Payload);
            if (condition(message)) return message;
        }
    }

    public Task<JsonElement> ReadAsync(string type) => ReadUntilAsync(message => message.GetProperty("type").GetString() == type);

    /// <summary>Reads samples until one meets the condition.</summary>
    public Task<JsonElement> ReadSampleAsync(Func<JsonElement, bool> condition) =>
        ReadUntilAsync(message => message.GetProperty("type").GetString() == "sample" && condition(message));

    /// <summary>Sends a request and returns the answer. The properties are JSON without braces.</summary>
    public async Task<JsonElement> RequestAsync(string properties)
    {
        var id = ++_lastId;
        await client.SendAsync(ClientFrame.CreateText($$"""{"id":{{id}},{{properties}}}"""));
        return await ReadUntilAsync(message => message.TryGetProperty("id", out var answered) && answered.GetInt64() == id);
    }

    /// <summary>Sends a frame and returns the text of the problem that the server reports.</summary>
    public async Task<string> GetProblemAsync(byte[] frame)
    {
        await client.SendAsync(frame);
        return (await ReadAsync("problem")).GetProperty("text").GetString()!;
    }

    public Task LeaveAsync() => client.LeaveAsync();

    public ValueTask DisposeAsync() => client.DisposeAsync();
}
