using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace Broadcast.Middleware.Tests.Support;

/// <summary>
/// A client for server-sent events on a bare socket, or on any stream that is a response's body. It sees how the body ends. Each
/// wait ends after <see cref="Eventually.Patience"/>.
/// </summary>
sealed class EventClient : IAsyncDisposable
{
    static readonly TimeSpan Patience = Eventually.Patience;

    readonly Stream _stream;
    readonly Socket? _socket;
    readonly byte[] _buffer = new byte[64 * 1024];
    readonly EventParser _parser = new();
    string _lastEventId = "";
    int _start;
    int _end;
    bool _isChunked;
    int _chunk;

    /// <summary>Creates a client for a body without chunked encoding.</summary>
    public EventClient(Stream body) => _stream = body;

    EventClient(Socket socket) => (_stream, _socket) = (new NetworkStream(socket, ownsSocket: true), socket);

    public int Status { get; private set; }

    public Dictionary<string, string> Headers { get; } = new(StringComparer.OrdinalIgnoreCase);

    /// <summary>The Last-Event-ID that a browser would send after the events taken so far.</summary>
    public string LastEventId => _parser.HasEvents ? _lastEventId : _parser.LastEventId;

    public int Comments => _parser.Comments;

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
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        if (receiveBuffer is { } size) socket.ReceiveBufferSize = size;
        EventClient? client = null;
        try
        {
            await socket.ConnectAsync(IPAddress.Loopback, app.Port, TestContext.Current.CancellationToken);
            client = new EventClient(socket);
            await client.RequestAsync(path, method, version, headers);
            return client;
        }
        catch
        {
            if (client is not null) await client.DisposeAsync();
            else socket.Dispose();
            throw;
        }
    }

    /// <summary>Sends another request on the same socket, which must be idle.</summary>
    public async Task RequestAsync(string path, string method, string version, params (string Name, string? Value)[] headers)
    {
        var lines = headers.Where(header => header.Value is not null).Select(header => $"{header.Name}: {header.Value}\r\n");
        await SendAsync(Encoding.UTF8.GetBytes($"{method} {path} {version}\r\nHost: localhost\r\n{string.Concat(lines)}\r\n"));
        Status = int.Parse((await ReadLineAsync()).Split(' ')[1], CultureInfo.InvariantCulture);
        Headers.Clear();
        while (await ReadLineAsync() is { Length: > 0 } line)
        {
            var colon = line.IndexOf(':', StringComparison.Ordinal);
            Headers.Add(line[..colon], line[(colon + 1)..].Trim());
        }

        _isChunked = Headers.GetValueOrDefault("Transfer-Encoding") == "chunked";
        _chunk = 0;
    }

    public async Task SendAsync(ReadOnlyMemory<byte> bytes) => await _stream.WriteAsync(bytes, TestContext.Current.CancellationToken);

    /// <summary>Returns the next event. Throws <see cref="TransportEndedException"/> if the body ends instead.</summary>
    public async Task<ServerEvent> NextAsync()
    {
        ServerEvent? next;
        while (!_parser.TryTake(out next)) await FeedAsync();
        _lastEventId = next!.Id;
        return next;
    }

    /// <summary>Returns the data of the next events. Fails if one of them is not a text message.</summary>
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

    /// <summary>Returns the first ID, which may come without an event. Call this method before you take an event.</summary>
    public async Task<string> ReadIdAsync()
    {
        while (_parser.FirstId is null) await FeedAsync();
        return _parser.FirstId;
    }

    public async Task ReadCommentAsync()
    {
        for (var before = Comments; Comments == before;) await FeedAsync();
    }

    /// <summary>Returns all events up to the end, and how the body ended.</summary>
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
            text.Append(Encoding.UTF8.GetString(await ReadAsync(Take(int.MaxValue))));
            Assert.Equal("", await ReadLineAsync());
        }

        return text.ToString();
    }

    /// <summary>Closes the socket with a TCP reset.</summary>
    public void Reset()
    {
        _socket!.LingerState = new LingerOption(true, 0);
        _socket.Dispose();
    }

    /// <summary>Ends the sending side of the socket: the server receives a FIN.</summary>
    public void Finish() => _socket!.Shutdown(SocketShutdown.Send);

    public ValueTask DisposeAsync() => _stream.DisposeAsync();

    async Task FeedAsync()
    {
        if (_isChunked && !await ReadChunkAsync()) throw new TransportEndedException(TransportEnd.Finished);
        if (_start == _end)
        {
            // Without chunks, the body ends with the stream. After an end within a chunk, bytes are missing.
            var received = await ReceiveAsync();
            if (received == 0) throw new TransportEndedException(_isChunked ? TransportEnd.Reset : TransportEnd.Finished);
            (_start, _end) = (0, received);
        }

        var count = Take(_end - _start);
        _parser.Feed(_buffer.AsSpan(_start, count));
        _start += count;
        if (_isChunked && _chunk == 0) Assert.Equal("", await ReadLineAsync());
    }

    /// <summary>Returns false at the last chunk.</summary>
    async Task<bool> ReadChunkAsync()
    {
        if (!_isChunked) return false;
        if (_chunk > 0) return true;
        _chunk = int.Parse(await ReadLineAsync(), NumberStyles.HexNumber, CultureInfo.InvariantCulture);
        if (_chunk > 0) return true;
        Assert.Equal("", await ReadLineAsync());
        _isChunked = false;
        return false;
    }

    /// <summary>Returns how many of the bytes belong to the current chunk.</summary>
    int Take(int count)
    {
        if (!_isChunked) return count;
        count = Math.Min(count, _chunk);
        _chunk -= count;
        return count;
    }

    async Task<string> ReadLineAsync()
    {
        var line = new StringBuilder();
        while ((await ReadAsync(1))[0] is var next and not (byte)'\n') line.Append((char)next);
        Assert.EndsWith("\r", line.ToString(), StringComparison.Ordinal);
        return line.ToString(0, line.Length - 1);
    }

    async Task<byte[]> ReadAsync(int count)
    {
        var bytes = new byte[count];
        for (var filled = 0; filled < count;)
        {
            if (_start == _end) (_start, _end) = (0, await ReceiveAsync());
            if (_end == 0) throw new TransportEndedException(TransportEnd.Reset);
            var taken = Math.Min(count - filled, _end - _start);
            _buffer.AsSpan(_start, taken).CopyTo(bytes.AsSpan(filled));
            (_start, filled) = (_start + taken, filled + taken);
        }

        return bytes;
    }

    async Task<int> ReceiveAsync()
    {
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        patience.CancelAfter(Patience);
        try
        {
            return await _stream.ReadAsync(_buffer, patience.Token);
        }
        catch (OperationCanceledException) when (!TestContext.Current.CancellationToken.IsCancellationRequested)
        {
            throw new TimeoutException($"The server sent nothing for {Patience}.");
        }
        catch (Exception exception) when (exception is IOException or HttpRequestException)
        {
            throw new TransportEndedException(TransportEnd.Reset);
        }
    }
}
