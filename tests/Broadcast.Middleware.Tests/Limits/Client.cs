using Broadcast.Middleware.Tests.Wire;

namespace Broadcast.Middleware.Tests.Limits;

/// <summary>Clients whose handshakes say more than the necessary.</summary>
static class Client
{
    /// <summary>Connects, and is in its group when the task ends.</summary>
    public static async Task<RawClient> OpenAsync(BroadcastApp app, params (string Name, string? Value)[] headers)
    {
        var client = await RawClient.ConnectAsync(app);
        Assert.Equal(101, (await client.HandshakeAsync("/ws", headers)).Status);
        await client.JoinedAsync();
        return client;
    }

    /// <summary>What is answered to a handshake; the connection, if there is one, is given up.</summary>
    public static async Task<HttpAnswer> TryAsync(BroadcastApp app, params (string Name, string? Value)[] headers)
    {
        await using var client = await RawClient.ConnectAsync(app);
        return await client.HandshakeAsync("/ws", headers);
    }

    /// <summary>Says goodbye, hears it, and sees the line end.</summary>
    public static async Task LeaveAsync(RawClient client)
    {
        await client.SendAsync(ClientFrame.OfClose(1000));
        await client.ReadCloseAsync();
        await client.ReadEndAsync();
    }

    /// <summary>The close code of a server that says goodbye; it is answered, and the line has to end.</summary>
    public static async Task<int?> ClosedWithAsync(RawClient client)
    {
        var close = await client.ReadCloseAsync();
        await client.SendAsync(ClientFrame.OfClose(close.CloseCode ?? 1000));
        await client.ReadEndAsync();
        return close.CloseCode;
    }

    /// <summary>
    /// Fails unless the connection is there. The answer takes the way of all that is sent, so that what the server had on its mind
    /// about this connection before is done when it comes.
    /// </summary>
    public static async Task IsThereAsync(RawClient client) => await client.JoinedAsync();
}
