using System.Buffers.Binary;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace Broadcast.Middleware.Tests.Support;

/// <summary>
/// A WebSocket client without a WebSocket library, on a bare socket or on any stream: it can break every rule, and sees every byte.
/// Each wait for the server ends after <see cref="Eventually.Patience"/>.
/// </summary>
sealed class RawClient(Stream stream, Socket? socket = null) : IAsyncDisposable
{
    /// <summary>The key of RFC 6455, section 1.3, and the matching accept value.</summary>
    public const string Key = "dGhlIHNhbXBsZSBub25jZQ==", Accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    static readonly TimeSpan Patience = Eventually.Patience;

    readonly byte[] _buffer = new byte[64 * 1024];
    int _start;
    int _end;

    /// <summary>Connects without a handshake.</summary>
    public static async Task<RawClient> ConnectAsync(BroadcastApp app, int? receiveBuffer = null)
    {
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        // Set the size before connecting, because the offered TCP window depends on it.
        if (receiveBuffer is { } size) socket.ReceiveBufferSize = size;
        try
        {
            await socket.ConnectAsync(IPAddress.Loopback, app.Port, TestContext.Current.CancellationToken);
        }
        catch
        {
            socket.Dispose();
            throw;
        }

        return new(new NetworkStream(socket, ownsSocket: true), socket);
    }

    /// <summary>Connects. The client has joined its group when the task completes.</summary>
    public static async Task<RawClient> OpenAsync(BroadcastApp app, string path = "/ws", int? receiveBuffer = null)
    {
        var client = await ConnectAsync(app, receiveBuffer);
        Assert.Equal(101, (await client.HandshakeAsync(path)).Status);
        await client.JoinedAsync();
        return client;
    }

    /// <summary>
    /// Waits until the connection has joined its group. The server reads only afterwards, so a pong proves it.
    /// </summary>
    public async Task JoinedAsync()
    {
        await SendAsync(ClientFrame.Make(ClientFrame.Ping, "joined?"u8));
        Assert.Equal(ClientFrame.Pong, (await ReadFrameAsync()).Opcode);
    }

    /// <summary>
    /// Sends the handshake of RFC 6455, section 4.1. The changes replace headers; null removes a header.
    /// </summary>
    public Task<HttpAnswer> HandshakeAsync(string path = "/ws", params (string Name, string? Value)[] changes) =>
        RequestAsync($"GET {path} HTTP/1.1", changes);

    /// <summary>Sends a handshake with another request line.</summary>
    public async Task<HttpAnswer> RequestAsync(string requestLine, params (string Name, string? Value)[] changes)
    {
        var headers = new Dictionary<string, string?>
        {
            ["Host"] = "localhost",
            ["Connection"] = "Upgrade",
            ["Upgrade"] = "websocket",
            ["Sec-WebSocket-Version"] = "13",
            ["Sec-WebSocket-Key"] = Key,
        };
        foreach (var (name, value) in changes) headers[name] = value;
        var lines = headers.Where(header => header.Value is not null).Select(header => $"{header.Key}: {header.Value}\r\n");
        await SendAsync(Encoding.ASCII.GetBytes($"{requestLine}\r\n{string.Concat(lines)}\r\n"));
        return await ReadAnswerAsync();
    }

    public async Task SendAsync(params ReadOnlyMemory<byte>[] pieces)
    {
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        patience.CancelAfter(Patience);
        foreach (var piece in pieces) await stream.WriteAsync(piece, patience.Token);
        await stream.FlushAsync(patience.Token);
    }

    /// <summary>
    /// Reads the next frame. It must be valid: unmasked, unfragmented, no reserved bits, shortest length encoding.
    /// </summary>
    public async Task<ServerFrame> ReadFrameAsync()
    {
        var header = await ReadAsync(2);
        Assert.True((header[0] & 0xF0) == 0x80, $"Not one whole frame without extensions: {header[0]:x2}");
        Assert.Contains(header[0] & 0x0F, new[] { ClientFrame.Text, ClientFrame.Binary, ClientFrame.Close, ClientFrame.Ping, ClientFrame.Pong });
        Assert.True((header[1] & 0x80) == 0, "A server's frame is not masked.");
        var length = (int)header[1];
        if (length == 126)
        {
            header = [.. header, .. await ReadAsync(2)];
            length = BinaryPrimitives.ReadUInt16BigEndian(header.AsSpan(2));
            Assert.InRange(length, 126, ushort.MaxValue);
        }
        else if (length == 127)
        {
            header = [.. header, .. await ReadAsync(8)];
            length = checked((int)BinaryPrimitives.ReadUInt64BigEndian(header.AsSpan(2)));
            Assert.InRange(length, ushort.MaxValue + 1, int.MaxValue);
        }

        return new(header, await ReadAsync(length));
    }

    public async Task<byte> ReadByteAsync() => (await ReadAsync(1))[0];

    /// <summary>Reads up to the close frame and skips all other frames.</summary>
    public async Task<ServerFrame> ReadCloseAsync()
    {
        while (true)
        {
            if (await ReadFrameAsync() is { Opcode: ClientFrame.Close } close) return close;
        }
    }

    /// <summary>Reads until the server ends the transport, and ignores the bytes.</summary>
    public async Task<TransportEnd> ReadEndAsync()
    {
        try
        {
            while (true) await ReadAsync(1);
        }
        catch (TransportEndedException ended)
        {
            return ended.End;
        }
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

    async Task<HttpAnswer> ReadAnswerAsync()
    {
        var status = int.Parse((await ReadLineAsync()).Split(' ')[1], CultureInfo.InvariantCulture);
        var headers = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
        while (await ReadLineAsync() is { Length: > 0 } line)
        {
            var colon = line.IndexOf(':', StringComparison.Ordinal);
            headers.Add(line[..colon], line[(colon + 1)..].Trim());
        }

        var body = new StringBuilder();
        if (headers.GetValueOrDefault("Transfer-Encoding") == "chunked")
        {
            while (int.Parse(await ReadLineAsync(), NumberStyles.HexNumber, CultureInfo.InvariantCulture) is > 0 and var chunk)
            {
                body.Append(Encoding.UTF8.GetString(await ReadAsync(chunk)));
                await ReadLineAsync();
            }

            await ReadLineAsync();
        }
        else if (headers.TryGetValue("Content-Length", out var length))
        {
            body.Append(Encoding.UTF8.GetString(await ReadAsync(int.Parse(length, CultureInfo.InvariantCulture))));
        }
        else if (status != 101)
        {
            // The body ends with the connection (HTTP/1.0).
            try
            {
                while (true) body.Append((char)await ReadByteAsync());
            }
            catch (TransportEndedException ended)
            {
                Assert.Equal(TransportEnd.Finished, ended.End);
            }
        }

        return new(status, headers, body.ToString());
    }

    async Task<string> ReadLineAsync()
    {
        var line = new StringBuilder();
        while (await ReadByteAsync() is var next and not (byte)'\n') line.Append((char)next);
        return line.ToString().TrimEnd('\r');
    }

    /// <summary>Reads this number of bytes.</summary>
    public async ValueTask<byte[]> ReadAsync(int count)
    {
        var bytes = new byte[count];
        for (var filled = 0; filled < count;)
        {
            if (_start == _end) (_start, _end) = (0, await ReceiveAsync());
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
            return await stream.ReadAsync(_buffer, patience.Token) is > 0 and var received
                ? received
                : throw new TransportEndedException(TransportEnd.Finished);
        }
        catch (OperationCanceledException) when (!TestContext.Current.CancellationToken.IsCancellationRequested)
        {
            throw new TimeoutException($"The server sent nothing for {Patience}.");
        }
        catch (IOException exception) when (exception is not TransportEndedException)
        {
            throw new TransportEndedException(TransportEnd.Reset);
        }
    }
}
