namespace Broadcast.Middleware.Testing.Wire;

/// <summary>
/// A client for server-sent events on a transport, or on a stream with the body of a response. The client detects how
/// the body ends.
/// </summary>
/// <param name="stream">The bytes to and from the server, or the body of a response without chunked encoding.</param>
/// <param name="timeout">The longest time without progress.</param>
/// <param name="cancellationToken">Ends all waits.</param>
class EventStreamWire(Stream stream, TimeSpan timeout, CancellationToken cancellationToken)
    : WireStream(stream, timeout, cancellationToken)
{
    readonly EventParser _parser = new();
    string _lastEventId = "";
    bool _isChunked;
    bool _hasEnded; // True after the last chunk. The transport can stay open for another request.
    int _chunk;

    public int Status { get; private set; }

    public Dictionary<string, string> Headers { get; private set; } = [];

    /// <summary>The Last-Event-ID that a browser would send after the events taken so far.</summary>
    public string LastEventId => _parser.HasEvents ? _lastEventId : _parser.LastEventId;

    public int Comments => _parser.Comments;

    /// <summary>True if the stream can end here without an incomplete event.</summary>
    public bool IsBetweenEvents => _parser.IsBetweenEvents;

    // If the stream ends before the last chunk, bytes are missing.
    protected override TransportEnd EndOfStream => TransportEnd.Reset;

    /// <summary>Sends a request and reads the head of the response. An earlier response must be complete.</summary>
    public async Task RequestAsync(
        string path, string method, string version, params (string Name, string? Value)[] headers)
    {
        var hasHost = headers.Any(static header => header.Name.Equals("Host", StringComparison.OrdinalIgnoreCase));
        await SendRequestAsync($"{method} {path} {version}", hasHost ? headers : [("Host", "localhost"), .. headers]);
        (Status, Headers) = await ReadHeadAsync();
        _isChunked = Headers.GetValueOrDefault("Transfer-Encoding") == "chunked";
        (_chunk, _hasEnded) = (0, false);
    }

    /// <summary>Returns the next event.</summary>
    /// <exception cref="TransportEndedException">The body ended instead.</exception>
    public async Task<ServerEvent> NextAsync()
    {
        ServerEvent? next;
        while (!_parser.TryTake(out next)) await FeedAsync();
        _lastEventId = next!.Id;
        return next;
    }

    /// <summary>
    /// Returns the first ID, which the server may send without an event. Call this method before you take an event.
    /// </summary>
    public async Task<string> ReadIdAsync()
    {
        while (_parser.FirstId is null) await FeedAsync();
        return _parser.FirstId;
    }

    /// <summary>
    /// Reads until the last ID has this offset, and returns the ID. Call this method after you have taken all events.
    /// </summary>
    public async Task<string> ReadIdAsync(long offset)
    {
        while (!LastEventId.EndsWith($"-{offset}", StringComparison.Ordinal)) await FeedAsync();
        return LastEventId;
    }

    public async Task ReadCommentAsync()
    {
        for (var before = Comments; Comments == before;) await FeedAsync();
    }

    /// <summary>Returns all events up to the end of the body, and how the body ended.</summary>
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

    /// <summary>Returns the text of a response that is not an event stream.</summary>
    public Task<string> ReadTextAsync() => ReadBodyAsync(Status, Headers);

    async Task FeedAsync()
    {
        if (_isChunked && !await ReadChunkAsync()) throw new TransportEndedException(TransportEnd.Finished);
        // A body without chunks ends with the stream. If the stream ends within a chunk, bytes are missing.
        if (!await TryFillAsync())
            throw new TransportEndedException(_isChunked ? TransportEnd.Reset : TransportEnd.Finished);
        var bytes = Take(_isChunked ? _chunk : int.MaxValue);
        _parser.Feed(bytes);
        if (!_isChunked) return;
        _chunk -= bytes.Count;
        if (_chunk == 0) await ReadEndOfChunkAsync();
    }

    /// <summary>Reads the size of the next chunk if no chunk is open. Returns false if no chunk is left.</summary>
    async Task<bool> ReadChunkAsync()
    {
        if (_chunk > 0) return true;
        if (_hasEnded) return false;
        _chunk = await ReadChunkSizeAsync();
        if (_chunk > 0) return true;
        await ReadEndOfChunkAsync();
        _hasEnded = true;
        return false;
    }
}
