using System.Buffers.Binary;
using System.Net.Sockets;
using System.Text;

namespace Broadcast.Middleware.Tests.Support;

/// <summary>
/// A WebSocket client without a WebSocket library, on a socket or on a stream. The client can violate each rule of the
/// protocol and can read every byte.
/// </summary>
sealed class RawClient(Stream stream, Socket? socket = null) : StreamClient(stream, socket)
{
    /// <summary>The key of RFC 6455, section 1.3, and the matching accept value.</summary>
    public const string Key = "dGhlIHNhbXBsZSBub25jZQ==", Accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    /// <summary>Connects without a handshake.</summary>
    public static async Task<RawClient> ConnectAsync(BroadcastApp app, int? receiveBuffer = null)
    {
        var socket = await ConnectSocketAsync(app, receiveBuffer);
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

    /// <summary>Connects with these headers. The client has joined its group when the task completes.</summary>
    public static async Task<RawClient> OpenAsync(BroadcastApp app, params (string Name, string? Value)[] headers)
    {
        var client = await ConnectAsync(app);
        Assert.Equal(101, (await client.HandshakeAsync("/ws", headers)).Status);
        await client.JoinedAsync();
        return client;
    }

    /// <summary>Returns the answer to a handshake and closes the connection.</summary>
    public static async Task<HttpAnswer> TryAsync(BroadcastApp app, params (string Name, string? Value)[] headers)
    {
        await using var client = await ConnectAsync(app);
        return await client.HandshakeAsync("/ws", headers);
    }

    /// <summary>
    /// Waits until the connection has joined its group. The server reads data only after the join, so a pong proves the join.
    /// </summary>
    public async Task JoinedAsync()
    {
        await SendAsync(ClientFrame.Make(ClientFrame.Ping, "joined?"u8));
        Assert.Equal(ClientFrame.Pong, (await ReadFrameAsync()).Opcode);
    }

    /// <summary>
    /// Asserts that the connection is open. The answer uses the normal send path, so it follows all earlier messages to this connection.
    /// </summary>
    public Task IsThereAsync() => JoinedAsync();

    /// <summary>
    /// Sends the handshake of RFC 6455, section 4.1. Each change replaces a header, or removes it if the value is null.
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
        await SendRequestAsync(requestLine, headers.Select(header => (header.Key, header.Value)));
        var answer = await ReadAnswerAsync();
        HasCompression = answer["Sec-WebSocket-Extensions"] is not null;
        return answer;
    }

    /// <summary>True if the server has accepted an extension. Data frames may then be compressed.</summary>
    public bool HasCompression { get; set; }

    /// <summary>
    /// Reads the next frame. The frame must be unmasked and unfragmented, without reserved bits, and with the shortest length encoding.
    /// With <see cref="HasCompression"/>, a data frame may have the bit RSV1. The payload of the result is then decompressed.
    /// </summary>
    public async Task<ServerFrame> ReadFrameAsync()
    {
        var header = await ReadAsync(2);
        var isCompressed = HasCompression && (header[0] & 0xF0) == 0xC0 && (header[0] & 0x0F) < ClientFrame.Close;
        Assert.True(isCompressed || (header[0] & 0xF0) == 0x80, $"The frame is fragmented or has a reserved bit. Its first byte is {header[0]:x2}.");
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

        var sent = await ReadAsync(length);
        return new(header, isCompressed ? Deflate.Decompress(sent) : sent) { Sent = sent };
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

    /// <summary>Exchanges close frames with the server and waits for the end of the socket.</summary>
    public async Task LeaveAsync()
    {
        await SendAsync(ClientFrame.OfClose(1000));
        await ReadCloseAsync();
        await ReadEndAsync();
    }

    /// <summary>Reads and answers the server's close frame, waits for the end of the socket, and returns the close code.</summary>
    public async Task<int?> ClosedWithAsync()
    {
        var close = await ReadCloseAsync();
        await SendAsync(ClientFrame.OfClose(close.CloseCode ?? 1000));
        await ReadEndAsync();
        return close.CloseCode;
    }

    public async Task<HttpAnswer> ReadAnswerAsync()
    {
        var (status, headers) = await ReadHeadAsync();
        var body = new StringBuilder();
        if (headers.GetValueOrDefault("Transfer-Encoding") == "chunked")
        {
            while (await ReadChunkSizeAsync() is > 0 and var chunk)
            {
                body.Append(Encoding.UTF8.GetString(await ReadAsync(chunk)));
                await ReadEndOfChunkAsync();
            }

            await ReadEndOfChunkAsync();
        }
        else if (headers.TryGetValue("Content-Length", out var length))
        {
            body.Append(Encoding.UTF8.GetString(await ReadAsync(int.Parse(length, System.Globalization.CultureInfo.InvariantCulture))));
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
}
