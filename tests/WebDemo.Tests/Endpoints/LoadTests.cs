using System.Net.WebSockets;
using System.Text.Json;

namespace WebDemo.Tests;

/// <summary>Tests the load page's endpoint.</summary>
[Collection<WsCollection>]
public sealed class LoadTests(DemoServer server)
{
    [Fact]
    public async Task LoadClients_ViewerSetsCountAndLeaves_StartAndStop()
    {
        using var visitor = await server.ConnectAsync("/live");
        using (var viewer = await server.ConnectAsync("/load"))
        {
            await viewer.SendTextAsync("20");
            await viewer.ReceiveUntilAsync(static figures => GetInt(figures, "clients") == 20 && GetInt(figures, "deliveries") > 0 && figures.TryGetProperty("p99", out _));
            await viewer.SendTextAsync("0");
            await viewer.ReceiveUntilAsync(static figures => GetInt(figures, "clients") == 0 && GetInt(figures, "wanted") == 0);
            await viewer.SendTextAsync("10");
            await viewer.ReceiveUntilAsync(static figures => GetInt(figures, "clients") == 10);
            await viewer.CloseNormallyAsync();
        }

        // Without a viewer, the clients stop. With 10 clients, the server delivers 100 messages per second.
        await WaitForPeopleAsync(visitor, 1);
        await visitor.ReceiveUntilAsync(static message => message.TryGetProperty("messagesPerSecond", out var messages) && messages.GetInt64() < 10);
        // The next viewer starts with a stopped load.
        using var next = await server.ConnectAsync("/load");
        await next.ReceiveUntilAsync(static figures => GetInt(figures, "clients") == 0 && GetInt(figures, "wanted") == 0);
    }

    [Fact]
    public async Task LoadClients_ViewerChangesCount_FollowCount()
    {
        using var viewer = await server.ConnectAsync("/load");
        foreach (var count in new[] { 8, 3, 1000 })
        {
            await viewer.SendTextAsync($"{count}");
            await viewer.ReceiveUntilAsync(
                figures => GetInt(figures, "clients") == count && GetInt(figures, "wanted") == count && GetInt(figures, "deliveries") > 0);
        }
    }

    [Fact]
    public async Task LoadClients_ServerRefusesConnections_StopWithProblem()
    {
        await using var own = await DemoServer.CreateAsync("--Local:MaxConnections=5");
        using var viewer = await own.ConnectAsync("/load");
        await viewer.SendTextAsync("20");
        await viewer.ReceiveUntilAsync(static figures =>
            GetInt(figures, "clients") == 0 && GetInt(figures, "wanted") == 0 && figures.TryGetProperty("problem", out _));
    }

    [Fact]
    public async Task LoadClients_ServerClosesConnections_StopWithReason()
    {
        // The viewer sends a message immediately. The clients never send a message, so the server closes their connections.
        await using var own = await DemoServer.CreateAsync("--Local:FirstMessageTimeout=00:00:10");
        using var viewer = await own.ConnectAsync("/load");
        await viewer.SendTextAsync("5");
        await viewer.ReceiveUntilAsync(static figures =>
            GetInt(figures, "clients") == 0 && GetInt(figures, "wanted") == 0 && figures.TryGetProperty("problem", out var problem)
            && problem.GetString()!.StartsWith("The server closed a client with status 1008: ", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Connect_AfterProblemOfEarlierViewer_ReceivesReportWithoutProblem()
    {
        await using var own = await DemoServer.CreateAsync("--Local:MaxConnections=5");
        using var visitor = await own.ConnectAsync("/live");
        using (var viewer = await own.ConnectAsync("/load"))
        {
            await viewer.SendTextAsync("20");
            await viewer.ReceiveUntilAsync(static figures => GetInt(figures, "clients") == 0 && figures.TryGetProperty("problem", out _));
            await viewer.CloseNormallyAsync();
        }

        await WaitForPeopleAsync(visitor, 1);
        using var next = await own.ConnectAsync("/load");
        await next.ReceiveUntilAsync(static figures => GetInt(figures, "wanted") == 0 && !figures.TryGetProperty("problem", out _));
    }

    [Fact]
    public async Task Connect_WithOtherHostName_IsClosedWithReason()
    {
        using var socket = new ClientWebSocket();
        socket.Options.SetRequestHeader("Host", "example.com");
        await socket.ConnectAsync(server.GetWebSocketUrl("/load"), TestContext.Current.CancellationToken);
        await socket.AssertClosedAsync(WebSocketCloseStatus.PolicyViolation, "This page works only on the server's computer, at http://localhost.");
    }

    /// <summary>Waits until the start page shows this number of people. The clients of the load page are no people.</summary>
    static Task WaitForPeopleAsync(ClientWebSocket visitor, int count) =>
        visitor.ReceiveUntilAsync(message => message.TryGetProperty("people", out var people) && people.GetInt32() == count);

    static int GetInt(JsonElement figures, string name) => figures.GetProperty(name).GetInt32();
}
