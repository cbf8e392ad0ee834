using System.Globalization;
using System.Text;

namespace Broadcast.Middleware.Testing.Wire;

/// <summary>Reads and writes the bytes of a client. Each wait for the server has a limit.</summary>
/// <param name="stream">The bytes to and from the server.</param>
/// <param name="timeout">
/// The longest time without progress. The timeout uses real time, even with a manual clock.
/// </param>
/// <param name="cancellationToken">Ends all waits.</param>
abstract class WireStream(Stream stream, TimeSpan timeout, CancellationToken cancellationToken) : IAsyncDisposable
{
    readonly byte[] _buffer = new byte[64 * 1024];
    int _start;
    int _end;

    /// <summary>The kind of end to report if the transport ends before all expected bytes have arrived.</summary>
    protected virtual TransportEnd EndOfStream => TransportEnd.Finished;

    public async Task SendAsync(params ReadOnlyMemory<byte>[] pieces)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        limit.CancelAfter(timeout);
        try
        {
            foreach (var piece in pieces) await stream.WriteAsync(piece, limit.Token);
            await stream.FlushAsync(limit.Token);
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            throw new TimeoutException(
                $"The server read nothing for {timeout}. A filter may still handle an earlier message.");
        }
    }

    public virtual ValueTask DisposeAsync() => stream.DisposeAsync();

    /// <summary>Reads exactly <paramref name="count"/> bytes.</summary>
    public async ValueTask<byte[]> ReadAsync(int count)
    {
        var bytes = new byte[count];
        for (var filled = 0; filled < count;)
        {
            if (!await TryFillAsync()) throw new TransportEndedException(EndOfStream);
            var taken = Take(count - filled);
            taken.CopyTo(bytes, filled);
            filled += taken.Count;
        }

        return bytes;
    }

    /// <summary>Sends the head of a request. Omits headers without a value.</summary>
    protected Task SendRequestAsync(string requestLine, IEnumerable<(string Name, string? Value)> headers)
    {
        var lines = headers.Where(static header => header.Value is not null)
            .Select(static header => $"{header.Name}: {header.Value}\r\n");
        return SendAsync(Encoding.UTF8.GetBytes($"{requestLine}\r\n{string.Concat(lines)}\r\n"));
    }

    /// <summary>Reads the status line and the headers of a response.</summary>
    protected async Task<(int Status, Dictionary<string, string> Headers)> ReadHeadAsync()
    {
        var status = int.Parse((await ReadLineAsync()).Split(' ')[1], CultureInfo.InvariantCulture);
        var headers = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
        while (await ReadLineAsync() is { Length: > 0 } line)
        {
            var colon = line.IndexOf(':', StringComparison.Ordinal);
            var (name, value) = (line[..colon], line[(colon + 1)..].Trim());
            // A server may send several lines with the same name, for example Set-Cookie.
            headers[name] = headers.TryGetValue(name, out var earlier) ? $"{earlier}, {value}" : value;
        }

        return (status, headers);
    }

    /// <summary>Reads the whole body of a response as text.</summary>
    protected async Task<string> ReadBodyAsync(int status, Dictionary<string, string> headers)
    {
        var body = new List<byte>();
        if (headers.GetValueOrDefault("Transfer-Encoding") == "chunked")
        {
            while (await ReadChunkSizeAsync() is > 0 and var chunk)
            {
                body.AddRange(await ReadAsync(chunk));
                await ReadEndOfChunkAsync();
            }

            await ReadEndOfChunkAsync();
        }
        else if (headers.TryGetValue("Content-Length", out var length))
        {
            body.AddRange(await ReadAsync(int.Parse(length, CultureInfo.InvariantCulture)));
        }
        else if (status is not (101 or 204 or 304))
        {
            // The body ends with the connection (HTTP/1.0).
            while (await TryFillAsync()) body.AddRange(Take(int.MaxValue));
        }

        return Encoding.UTF8.GetString([.. body]);
    }

    /// <summary>Reads the size of the next chunk. The size of the last chunk is 0.</summary>
    protected async Task<int> ReadChunkSizeAsync() =>
        int.Parse(await ReadLineAsync(), NumberStyles.HexNumber, CultureInfo.InvariantCulture);

    /// <summary>Reads the empty line at the end of a chunk.</summary>
    protected async Task ReadEndOfChunkAsync()
    {
        if (await ReadLineAsync() is { Length: > 0 } line)
            throw new BroadcastTestException($"A chunk of the response is longer than its size: {line}");
    }

    /// <summary>Waits for bytes. Returns false if the server has ended the stream without a reset.</summary>
    protected async ValueTask<bool> TryFillAsync()
    {
        if (_start == _end) (_start, _end) = (0, await ReceiveAsync());
        return _end > 0;
    }

    /// <summary>Takes at most <paramref name="count"/> received bytes.</summary>
    protected ArraySegment<byte> Take(int count)
    {
        var taken = new ArraySegment<byte>(_buffer, _start, Math.Min(count, _end - _start));
        _start += taken.Count;
        return taken;
    }

    async Task<string> ReadLineAsync()
    {
        var line = new StringBuilder();
        while ((await ReadAsync(1))[0] is var next and not (byte)'\n') line.Append((char)next);
        if (line.Length == 0 || line[^1] != '\r')
            throw new BroadcastTestException($"A line of the response does not end with CR LF: {line}");
        return line.ToString(0, line.Length - 1);
    }

    async Task<int> ReceiveAsync()
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        limit.CancelAfter(timeout);
        try
        {
            return await stream.ReadAsync(_buffer, limit.Token);
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            throw new TimeoutException(
                $"The server sent nothing for {timeout}. " +
                "If the server must act after a time, advance the clock of the app.");
        }
        catch (Exception exception) when (exception is IOException or HttpRequestException)
        {
            throw new TransportEndedException(TransportEnd.Reset);
        }
    }
}
