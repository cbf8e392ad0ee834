namespace WebDemo.Tests;

/// <summary>Tests the published npm client when its server restarts. No other test uses the server at the same time.</summary>
[Trait("Run", "More")]
[Collection<RestartCollection>]
public sealed class NpmClientRestartTests(RestartedServer restarted)
{
    static readonly object FastReconnect = new { reconnectRetryOptions = new { retryDelayInMs = 50 } };

    public static MatrixTheoryData<string, bool> Restarts => new([NpmClient.Reliable, NpmClient.Plain], [true, false]);

    [Theory, MemberData(nameof(Restarts))]
    public async Task Reconnect_ServerRestarts_RejoinsGroups(string protocol, bool isGraceful)
    {
        var server = await restarted.GetAsync();
        await using var ann = await NpmClient.ConnectAsync(server.Url, protocol, FastReconnect);
        string[] groups = ["blue", "red"];
        foreach (var group in groups) await ann.JoinAsync(group);
        await ann.JoinAsync("left");
        await ann.CallAsync("leaveGroup", "left");
        await (isGraceful ? server.StopAsync() : server.KillAsync());
        await server.StartAsync();
        var disconnected = await ann.NextEventAsync("disconnected");
        Assert.Equal(ann.ConnectionId, disconnected.GetProperty("connectionId").GetString());
        var connected = await ann.NextEventAsync("connected");
        Assert.NotEqual(ann.ConnectionId, connected.GetProperty("connectionId").GetString());
        // The client raises the event after it has joined its groups again.
        Assert.Equal((1, 1, 0), (await server.CountAsync("blue"), await server.CountAsync("red"), await server.CountAsync("left")));
        await using var ben = await NpmClient.ConnectAsync(server.Url, protocol);
        foreach (var group in groups)
        {
            await ben.CallAsync("sendToGroup", group, "after", "text");
            await ann.AssertNextGroupMessageAsync(group, "after");
        }
    }
}
