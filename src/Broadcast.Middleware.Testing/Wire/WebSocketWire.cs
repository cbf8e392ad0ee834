using System.Buffers.Binary;

namespace Broadcast.Middleware.Testing.Wire;

/// <summary>
/// A WebSocket client that reads and writes single frames (RFC 6455, section 5). The client checks each frame of the
/// server. A test can also send frames that violate the protocol.
/// </summary>
/// <param name="stream">The bytes to and from the server.</param>
/// <param name="timeout">The longest time without progress.</param>
/// <param name="cancellationToken">Ends all waits.</param>
class WebSocketWire(Stream stream, TimeSpan timeout, CancellationToken cancellationToken)
    : WireStream(stream, timeout, cancellationToken)
{
    /// <summary>The key of RFC 6455, section 1.3, and the matching accept value.</summary>
    public const string Key = "dGhlIHNhbXBsZSBub25jZQ==", Accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    /// <summary>True if the server has accepted an extension. Data frames may then be compressed.</summary>
    public bool HasCompression { get; set; }

    /// <summary>
    /// Sends the handshake of RFC 6455, section 4.1. Each change replaces a header, or removes the header if the value
    /// is null.
    /// </summary>
    public Task<HttpAnswer> HandshakeAsync(string path = "/ws", params (string Name, string? Value)[] changes) =>
        RequestAsync($"GET {path} HTTP/1.1", changes);

    /// <summary>Sends a handshake with this request line.</summary>
    public async Task<HttpAnswer> RequestAsync(string requestLine, params (string Name, string? Value)[] changes)
    {
        var headers = new Dictionary<string, string?>(StringComparer.OrdinalIgnoreCase)
        {
            ["Host"] = "localhost",
            ["Connection"] = "Upgrade",
            ["Upgrade"] = "websocket",
            ["Sec-WebSocket-Version"] = "13",
            ["Sec-WebSocket-Key"] = Key,
        };
        foreach (var (name, value) in changes) headers[name] = value;
        await SendRequestAsync(requestLine, headers.Select(static header => (header.Key, header.Value)));
        var answer = await ReadAnswerAsync();
        HasCompression = answer["Sec-WebSocket-Extensions"] is not null;
        return answer;
    }

    /// <summary>
    /// Reads the next frame. The frame must be unmasked and unfragmented, without reserved bits, and with the shortest
    /// length encoding. With <see cref="HasCompression"/>, a data frame may have the bit RSV1. The payload of the
    /// result is then decompressed.
    /// </summary>
    public async Task<ServerFrame> ReadFrameAsync()
    {
        var header = await ReadAsync(2);
        var opcode = header[0] & 0x0F;
        var isCompressed = HasCompression && (header[0] & 0xF0) == 0xC0 && opcode < ClientFrame.Close;
        Check(isCompressed || (header[0] & 0xF0) == 0x80, header, "is fragmented or has a reserved bit");
        Check(opcode is 1 or 2 or 8 or 9 or 10, header, "has an unknown opcode");
        Check((header[1] & 0x80) == 0, header, "is masked");
        var length = (int)header[1];
        if (length == 126)
        {
            header = [.. header, .. await ReadAsync(2)];
            length = BinaryPrimitives.ReadUInt16BigEndian(header.AsSpan(2));
            Check(length >= 126, header, "does not use the shortest length encoding");
        }
        else if (length == 127)
        {
            header = [.. header, .. await ReadAsync(8)];
            length = checked((int)BinaryPrimitives.ReadUInt64BigEndian(header.AsSpan(2)));
            Check(length > ushort.MaxValue, header, "does not use the shortest length encoding");
        }

        var sent = await ReadAsync(length);
        return new(header, isCompressed ? Decompress(sent) : sent) { Sent = sent };
    }

    public async Task<byte> ReadByteAsync() => (await ReadAsync(1))[0];

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

    public async Task<HttpAnswer> ReadAnswerAsync()
    {
        var (status, headers) = await ReadHeadAsync();
        return new(status, headers, await ReadBodyAsync(status, headers));
    }

    /// <summary>Returns the payload of a compressed message.</summary>
    protected virtual byte[] Decompress(byte[] payload) => throw new BroadcastTestException(
        "The server compressed a message, but this client cannot decompress messages. Do not send the header " +
        "Sec-WebSocket-Extensions.");

    static void Check(bool isValid, byte[] header, string problem)
    {
        if (isValid) return;
        throw new BroadcastTestException(
            $"The frame of the server {problem} (RFC 6455, section 5.2). Its header is " +
            $"{Convert.ToHexStringLower(header)}.");
    }
}
