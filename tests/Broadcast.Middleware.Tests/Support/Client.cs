
namespace Broadcast.Middleware.Tests.Support;

/// <summary>Helpers for raw clients with extra handshake headers.</summary>
static class Client
{
    /// <summary>Connects and waits until the client is a member of its group.</summary>
    public static async Task<RawClient> OpenAsync(BroadcastApp app, params (string Name, string? Value)[] headers)
    {
        var client = await RawClient.ConnectAsync(app);
        Assert.Equal(101, (await client.HandshakeAsync("/ws", headers)).Status);
        await client.JoinedAsync();
        return client;
    }

    /// <summary>Returns the answer to a handshake and drops the connection.</summary>
    public static async Task<HttpAnswer> TryAsync(BroadcastApp app, params (string Name, string? Value)[] headers)
    {
        await using var client = await RawClient.ConnectAsync(app);
        return await client.HandshakeAsync("/ws", headers);
    }

    /// <summary>Exchanges close frames with the server and waits for the end of the socket.</summary>
    public static async Task LeaveAsync(RawClient client)
    {
        await client.SendAsync(ClientFrame.OfClose(1000));
        await client.ReadCloseAsync();
        await client.ReadEndAsync();
    }

    /// <summary>Reads and answers the server's close frame, waits for the end of the socket, and returns the close code.</summary>
    public static async Task<int?> ClosedWithAsync(RawClient client)
    {
        var close = await client.ReadCloseAsync();
        await client.SendAsync(ClientFrame.OfClose(close.CloseCode ?? 1000));
        await client.ReadEndAsync();
        return close.CloseCode;
    }

    /// <summary>
    /// Fails unless the connection is open. The answer uses the normal send path. So the server has finished earlier work for this
    /// connection when the answer arrives.
    /// </summary>
    public static async Task IsThereAsync(RawClient client) => await client.JoinedAsync();
}
