using System.Buffers.Binary;
using System.Net.Sockets;
using System.Text;

namespace Broadcast.Redis.Benchmarks;

/// <summary>
/// A WebSocket client that only reads. To save CPU time, one read receives many frames, and reading allocates no
/// memory.
/// </summary>
/// <param name="received">Receives the timestamp and the number of each message.</param>
/// <param name="payloadAt">
/// The index of the payload in a message. In the SignalR protocol, other text precedes the payload.
/// </param>
/// <param name="separator">
/// The byte that ends a message in the SignalR protocol. Null if each frame is one message.
/// </param>
sealed class Client(Action<long, int> received, int payloadAt = 0, byte? separator = null) : IAsyncDisposable
{
    readonly Socket _socket = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
    readonly byte[] _buffer = new byte[128 * 1024];
    readonly byte[] _partial = new byte[1024];
    int _partialLength;
    Task _reading = Task.CompletedTask;
    volatile bool _leaving;

    /// <param name="uri">The URL of the server.</param>
    /// <param name="greeting">The first text to send, or null.</param>
    public async Task ConnectAsync(Uri uri, string? greeting = null)
    {
        await _socket.ConnectAsync(uri.Host, uri.Port);
        var request = $"GET {uri.PathAndQuery} HTTP/1.1\r\nHost: {uri.Authority}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
            $"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {Convert.ToBase64String(Guid.NewGuid().ToByteArray())}\r\n\r\n";
        await _socket.SendAsync(Encoding.ASCII.GetBytes(request));
        var (length, head) = (0, -1);
        while (head < 0)
        {
            var read = await _socket.ReceiveAsync(_buffer.AsMemory(length));
            if (read == 0) throw new IOException("The server has closed the transport.");
            head = _buffer.AsSpan(0, length += read).IndexOf("\r\n\r\n"u8);
        }

        var answer = Encoding.ASCII.GetString(_buffer, 0, head);
        if (!answer.StartsWith("HTTP/1.1 101", StringComparison.Ordinal)) throw new IOException(answer);
        if (greeting is not null)
        {
            // A client must mask its frames. A mask of four zeros leaves the bytes unchanged.
            var text = Encoding.ASCII.GetBytes(greeting);
            await _socket.SendAsync((byte[])[0x81, (byte)(0x80 | text.Length), 0, 0, 0, 0, .. text]);
        }

        var rest = length - head - 4;
        _buffer.AsSpan(head + 4, rest).CopyTo(_buffer);
        _reading = Task.Run(() => ReadAsync(rest));
    }

    public async ValueTask DisposeAsync()
    {
        _leaving = true;
        _socket.Close();
        await _reading;
    }

    async Task ReadAsync(int length)
    {
        try
        {
            while (true)
            {
                var taken = Take(_buffer.AsSpan(0, length));
                _buffer.AsSpan(taken, length - taken).CopyTo(_buffer);
                length -= taken;
                var read = await _socket.ReceiveAsync(_buffer.AsMemory(length));
                if (read == 0) throw new IOException("The server has closed the transport.");
                length += read;
            }
        }
        catch (Exception) when (_leaving)
        {
            // Ignore the exception, because DisposeAsync has closed the socket.
        }
        catch (Exception exception)
        {
            Console.Error.WriteLine($"The server has disconnected a client, so the result is not valid: {exception.Message}");
            Environment.Exit(1);
        }
    }

    /// <summary>Processes all complete frames. Returns the total number of bytes of these frames.</summary>
    int Take(ReadOnlySpan<byte> bytes)
    {
        for (var at = 0; ;)
        {
            var left = bytes[at..];
            if (left.Length < 4) return at;
            var (head, size) = (2, left[1] & 0x7f);
            if (size == 126) (head, size) = (4, BinaryPrimitives.ReadUInt16BigEndian(left[2..]));
            else if (size == 127) throw new InvalidDataException("The server has sent a frame larger than 64 KiB, which this client does not support.");
            if (left.Length < head + size) return at;
            var kind = left[0] & 0x0f;
            var content = left.Slice(head, size);
            if (kind == 8) throw new IOException("The server has closed the connection.");
            if (kind < 8 && separator is null) TakeMessage(content);
            else if (kind < 8) Split(content);
            at += head + size;
        }
    }

    void Split(ReadOnlySpan<byte> content)
    {
        for (int end; (end = content.IndexOf(separator!.Value)) >= 0; content = content[(end + 1)..])
        {
            if (_partialLength == 0)
            {
                TakeMessage(content[..end]);
                continue;
            }

            content[..end].CopyTo(_partial.AsSpan(_partialLength));
            TakeMessage(_partial.AsSpan(0, _partialLength + end));
            _partialLength = 0;
        }

        content.CopyTo(_partial.AsSpan(_partialLength));
        _partialLength += content.Length;
    }

    void TakeMessage(ReadOnlySpan<byte> message)
    {
        // Ignore shorter messages. The protocol sends such messages, for example pings.
        if (message.Length < payloadAt + Payload.Length) return;
        var (stamp, number) = Payload.Read(message.Slice(payloadAt, Payload.Length));
        received(stamp, number);
    }
}
