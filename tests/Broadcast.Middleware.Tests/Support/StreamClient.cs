using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace Broadcast.Middleware.Tests.Support;

/// <summary>
/// Reads and writes the bytes of a client, on a socket or on a stream. Each wait for the server ends after
/// <see cref="Eventually.Patience"/>.
/// </summary>
abstract class StreamClient(Stream stream, Socket? socket) : IAsyncDisposable
{
    readonly byte[] _buffer = new byte[64 * 1024];
    int _start;
    int _end;

    /// <summary>The kind of end to report if the transport ends before all expected bytes.</summary>
    protected virtual TransportEnd EndOfStream => TransportEnd.Finished;

    public async Task SendAsync(params ReadOnlyMemory<byte>[] pieces)
    {
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        patience.CancelAfter(Eventually.Patience);
        foreach (var piece in pieces) await stream.WriteAsync(piece, patience.Token);
        await stream.FlushAsync(patience.Token);
    }

    /// <summary>Disconnects with a reset.</summary>
    public void Reset()
    {
        socket!.LingerState = new LingerOption(true, 0);
        socket.Dispose();
    }

    /// <summary>Sends a FIN and continues to read.</summary>
    public void Finish() => socket!.Shutdown(SocketShutdown.Send);

    public ValueTask DisposeAsync() => stream.DisposeAsync();

    /// <summary>Reads this number of bytes.</summary>
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

    /// <summary>Opens a TCP connection to the app.</summary>
    protected static async Task<Socket> ConnectSocketAsync(BroadcastApp app, int? receiveBuffer)
    {
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        // Set the size before connecting, because the offered TCP window depends on it.
        if (receiveBuffer is { } size) socket.ReceiveBufferSize = size;
        try
        {
            await socket.ConnectAsync(IPAddress.Loopback, app.Port, TestContext.Current.CancellationToken);
            return socket;
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    /// <summary>Sends the head of a request. Omits headers without a value.</summary>
    protected Task SendRequestAsync(string requestLine, IEnumerable<(string Name, string? Value)> headers)
    {
        var lines = headers.Where(header => header.Value is not null).Select(header => $"{header.Name}: {header.Value}\r\n");
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
            headers.Add(line[..colon], line[(colon + 1)..].Trim());
        }

        return (status, headers);
    }

    /// <summary>Reads the size of the next chunk. The size of the last chunk is 0.</summary>
    protected async Task<int> ReadChunkSizeAsync() =>
        int.Parse(await ReadLineAsync(), NumberStyles.HexNumber, CultureInfo.InvariantCulture);

    /// <summary>Reads the empty line at the end of a chunk.</summary>
    protected async Task ReadEndOfChunkAsync() => Assert.Equal("", await ReadLineAsync());

    /// <summary>Waits for bytes. Returns false if the server has ended the stream without a reset.</summary>
    protected async ValueTask<bool> TryFillAsync()
    {
        if (_start == _end) (_start, _end) = (0, await ReceiveAsync());
        return _end > 0;
    }

    /// <summary>Takes at most this number of received bytes.</summary>
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
        Assert.EndsWith("\r", line.ToString(), StringComparison.Ordinal);
        return line.ToString(0, line.Length - 1);
    }

    async Task<int> ReceiveAsync()
    {
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        patience.CancelAfter(Eventually.Patience);
        try
        {
            return await stream.ReadAsync(_buffer, patience.Token);
        }
        catch (OperationCanceledException) when (!TestContext.Current.CancellationToken.IsCancellationRequested)
        {
            throw new TimeoutException($"The server sent nothing for {Eventually.Patience}.");
        }
        catch (Exception exception) when (exception is IOException or HttpRequestException)
        {
            throw new TransportEndedException(TransportEnd.Reset);
        }
    }
}
