using System.Net.Sockets;

namespace Broadcast.Middleware.Tests.Support;

/// <summary>A client for server-sent events on a socket, or on a stream with the body of a response.</summary>
sealed class EventClient : EventStreamWire
{
    readonly Socket? _socket;

    /// <summary>Creates a client for a body without chunked encoding.</summary>
    public EventClient(Stream body) : base(body, Eventually.Patience, TestContext.Current.CancellationToken)
    {
    }

    EventClient(Socket socket) : this(new NetworkStream(socket, ownsSocket: true)) => _socket = socket;

    /// <summary>Connects, requests events, and waits until the client is a member of its group.</summary>
    public static async Task<EventClient> OpenAsync(
        BroadcastApp app, string path = "/ws", string? after = null, int? receiveBuffer = null, params (string Name, string? Value)[] headers)
    {
        var before = app.Registry.Connections.Select(connection => connection.Id).ToHashSet();
        if (!headers.Any(header => header.Name == "Accept")) headers = [("Accept", "text/event-stream"), .. headers];
        var client = await AskAsync(app, path, receiveBuffer: receiveBuffer, headers: [("Last-Event-ID", after), .. headers]);
        Assert.Equal(200, client.Status);
        await Eventually.True(() =>
            app.Registry.Connections.Cast<Connection>().Any(connection => !before.Contains(connection.Id) && connection.WasOpened));
        return client;
    }

    /// <summary>Sends a request with these headers and reads the response headers.</summary>
    public static async Task<EventClient> AskAsync(
        BroadcastApp app, string path = "/ws", string method = "GET", string version = "HTTP/1.1", int? receiveBuffer = null,
        params (string Name, string? Value)[] headers)
    {
        var client = new EventClient(await app.ConnectSocketAsync(receiveBuffer));
        try
        {
            await client.RequestAsync(path, method, version, headers);
            return client;
        }
        catch
        {
            await client.DisposeAsync();
            throw;
        }
    }

    /// <summary>Returns the data of the next events. Fails if an event is not a text message.</summary>
    public async Task<string[]> ReceiveTextAsync(int count)
    {
        var heard = new string[count];
        for (var i = 0; i < count; i++)
        {
            var next = await NextAsync();
            Assert.True(next.Type == "message", $"Not a message: {next}");
            heard[i] = next.Data;
        }

        return heard;
    }

    /// <summary>Reads up to the close event, which replaces a close frame. The body must end after this event.</summary>
    public async Task<string> ReadCloseAsync()
    {
        var (events, end) = await ReadToEndAsync();
        Assert.Equal(TransportEnd.Finished, end);
        Assert.Equal("close", events[^1].Type);
        Assert.DoesNotContain(events.SkipLast(1), other => other.Type == "close");
        Assert.True(IsBetweenEvents);
        return events[^1].Data;
    }

    /// <summary>Disconnects with a reset.</summary>
    public void Reset() => _socket!.Reset();

    /// <summary>Sends a FIN and continues to read.</summary>
    public void Finish() => _socket!.Shutdown(SocketShutdown.Send);
}
