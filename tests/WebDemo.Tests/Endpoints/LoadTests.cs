using System.Net.WebSockets;
using System.Text.Json;

namespace WebDemo.Tests;

/// <summary>Tests the load page's endpoint.</summary>
public sealed class LoadTests(DemoServer server) : IClassFixture<DemoServer>
{
    [Fact]
    public async Task LoadClients_ViewerSetsCountAndLeaves_StartAndStop()
    {
        using (var viewer = await server.ConnectAsync("/load"))
        {
            await viewer.SendTextAsync("20");
            await ReceiveAsync(viewer, static figures => GetInt(figures, "clients") == 20 && GetInt(figures, "deliveries") > 0 && figures.TryGetProperty("p99", out _));
            await viewer.SendTextAsync("0");
            await ReceiveAsync(viewer, static figures => GetInt(figures, "clients") == 0 && GetInt(figures, "wanted") == 0);
            await viewer.SendTextAsync("10");
            await ReceiveAsync(viewer, static figures => GetInt(figures, "clients") == 10);
            await viewer.CloseNormallyAsync();
        }

        // Without a viewer, the clients stop. The server may notice the disconnect of the first viewer only after another
        // viewer has connected.
        for (var wanted = 10; wanted > 0;)
        {
            using var other = await server.ConnectAsync("/load");
            wanted = GetInt(await other.ReceiveJsonAsync(), "wanted");
        }
    }

    [Fact]
    public async Task LoadClients_ViewerChangesCount_FollowCount()
    {
        await using var own = await DemoServer.CreateAsync();
        using var viewer = await own.ConnectAsync("/load");
        foreach (var count in new[] { 8, 3, 6 })
        {
            await viewer.SendTextAsync($"{count}");
            await ReceiveAsync(viewer, figures => GetInt(figures, "clients") == count && GetInt(figures, "wanted") == count);
        }
    }

    [Fact]
    public async Task LoadClients_ServerRefusesConnections_StopWithProblem()
    {
        await using var own = await DemoServer.CreateAsync("--Local:MaxConnections=5");
        using var viewer = await own.ConnectAsync("/load");
        await viewer.SendTextAsync("20");
        await ReceiveAsync(viewer, static figures =>
            GetInt(figures, "clients") == 0 && GetInt(figures, "wanted") == 0 && figures.TryGetProperty("problem", out _));
    }

    [Fact]
    public async Task Connect_WithOtherHostName_IsClosedWithReason()
    {
        using var socket = new ClientWebSocket();
        socket.Options.SetRequestHeader("Host", "example.com");
        await socket.ConnectAsync(server.GetWebSocketUrl("/load"), TestContext.Current.CancellationToken);
        await socket.AssertClosedAsync(WebSocketCloseStatus.PolicyViolation, "This page works only on the computer of the server, at http://localhost.");
    }

    static async Task ReceiveAsync(ClientWebSocket viewer, Func<JsonElement, bool> isExpected)
    {
        while (!isExpected(await viewer.ReceiveJsonAsync()))
        {
            // Read the next figures.
        }
    }

    static int GetInt(JsonElement figures, string name) => figures.GetProperty(name).GetInt32();
}
