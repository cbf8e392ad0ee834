using System.Globalization;
using System.Net.Sockets;
using System.Text;

namespace Broadcast.Middleware.Tests.Support;

/// <summary>
/// A client for server-sent events on a socket, or on a stream with the body of a response. The client can tell how the body ends.
/// </summary>
sealed class EventClient : StreamClient
{
    readonly EventParser _parser = new();
    string _lastEventId = "";
    bool _isChunked;
    int _chunk;

    /// <summary>Creates a client for a body without chunked encoding.</summary>
    public EventClient(Stream body) : base(body, null)
    {
    }

    EventClient(Socket socket) : base(new NetworkStream(socket, ownsSocket: true), socket)
    {
    }

    public int Status { get; private set; }

    public Dictionary<string, string> Headers { get; private set; } = [];

    /// <summary>The Last-Event-ID that a browser would send after the events taken so far.</summary>
    public string LastEventId => _parser.HasEvents ? _lastEventId : _parser.LastEventId;

    public int Comments => _parser.Comments;

    // If the last chunk is missing, bytes are missing.
    protected override TransportEnd EndOfStream => TransportEnd.Reset;

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
        var client = new EventClient(await ConnectSocketAsync(app, receiveBuffer));
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

    /// <summary>Sends another request on the same socket, which must be idle.</summary>
    public async Task RequestAsync(string path, string method, string version, params (string Name, string? Value)[] headers)
    {
        await SendRequestAsync($"{method} {path} {version}", [("Host", "localhost"), .. headers]);
        (Status, Headers) = await ReadHeadAsync();
        _isChunked = Headers.GetValueOrDefault("Transfer-Encoding") == "chunked";
        _chunk = 0;
    }

    /// <summary>Returns the next event. Throws <see cref="TransportEndedException"/> if the body ends instead.</summary>
    public async Task<ServerEvent> NextAsync()
    {
        ServerEvent? next;
        while (!_parser.TryTake(out next)) await FeedAsync();
        _lastEventId = next!.Id;
        return next;
    }

    /// <summary>Returns the data of the next events. Fails if an event is not a text message.</summary>
    public async Task<string[]> HearAsync(int count)
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

    /// <summary>Returns the first ID, which the server may send without an event. Call this method before you take an event.</summary>
    public async Task<string> ReadIdAsync()
    {
        while (_parser.FirstId is null) await FeedAsync();
        return _parser.FirstId;
    }

    public async Task ReadCommentAsync()
    {
        for (var before = Comments; Comments == before;) await FeedAsync();
    }

    /// <summary>Returns all events up to the end of the body, and the kind of this end.</summary>
    public async Task<(List<ServerEvent> Events, TransportEnd End)> ReadToEndAsync()
    {
        var events = new List<ServerEvent>();
        try
        {
            while (true) events.Add(await NextAsync());
        }
        catch (TransportEndedException ended)
        {
            return (events, ended.End);
        }
    }

    /// <summary>Reads up to the close event, which replaces a close frame. The body must end after this event.</summary>
    public async Task<string> ReadCloseAsync()
    {
        var (events, end) = await ReadToEndAsync();
        Assert.Equal(TransportEnd.Finished, end);
        Assert.Equal("close", events[^1].Type);
        Assert.DoesNotContain(events.SkipLast(1), other => other.Type == "close");
        Assert.True(_parser.IsBetweenEvents);
        return events[^1].Data;
    }

    /// <summary>Returns the text of a response that is not an event stream.</summary>
    public async Task<string> ReadTextAsync()
    {
        if (!_isChunked) return Encoding.UTF8.GetString(await ReadAsync(int.Parse(Headers["Content-Length"], CultureInfo.InvariantCulture)));
        var text = new StringBuilder();
        while (await ReadChunkAsync())
        {
            text.Append(Encoding.UTF8.GetString(await ReadAsync(_chunk)));
            _chunk = 0;
            await ReadEndOfChunkAsync();
        }

        return text.ToString();
    }

    async Task FeedAsync()
    {
        if (_isChunked && !await ReadChunkAsync()) throw new TransportEndedException(TransportEnd.Finished);
        // A body without chunks ends with the stream. If the stream ends within a chunk, bytes are missing.
        if (!await TryFillAsync()) throw new TransportEndedException(_isChunked ? TransportEnd.Reset : TransportEnd.Finished);
        var bytes = Take(_isChunked ? _chunk : int.MaxValue);
        _parser.Feed(bytes);
        if (!_isChunked) return;
        _chunk -= bytes.Count;
        if (_chunk == 0) await ReadEndOfChunkAsync();
    }

    /// <summary>Returns false at the last chunk.</summary>
    async Task<bool> ReadChunkAsync()
    {
        if (!_isChunked) return false;
        if (_chunk > 0) return true;
        _chunk = await ReadChunkSizeAsync();
        if (_chunk > 0) return true;
        await ReadEndOfChunkAsync();
        _isChunked = false;
        return false;
    }
}
