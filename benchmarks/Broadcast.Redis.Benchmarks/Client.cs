using System.Buffers.Binary;
using System.Net.Sockets;
using System.Text;

namespace Broadcast.Redis.Benchmarks;

/// <summary>A WebSocket client that only reads, and costs as little as it can: many frames with one read, and nothing allocated.</summary>
/// <param name="received">Is given each message's timestamp and number.</param>
/// <param name="payloadAt">Where in a message the payload begins: SignalR's protocol puts something before it.</param>
/// <param name="separator">What ends a message, as in SignalR's protocol, where frames mean nothing; null if a frame is a message.</param>
sealed class Client(Action<long, int> received, int payloadAt = 0, byte? separator = null) : IAsyncDisposable
{
    readonly Socket _socket = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
    readonly byte[] _buffer = new byte[128 * 1024];
    readonly byte[] _begun = new byte[1024];
    int _begunLength;
    Task _reading = Task.CompletedTask;
    volatile bool _leaving;

    /// <param name="uri">Where to.</param>
    /// <param name="greeting">Text that is sent first; null for nothing.</param>
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
            if (read == 0) throw new IOException("The server has hung up.");
            head = _buffer.AsSpan(0, length += read).IndexOf("\r\n\r\n"u8);
        }

        var answer = Encoding.ASCII.GetString(_buffer, 0, head);
        if (!answer.StartsWith("HTTP/1.1 101", StringComparison.Ordinal)) throw new IOException(answer);
        if (greeting is not null)
        {
            // A client has to mask what it sends; by four zeros it stays as it is.
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
                if (read == 0) throw new IOException("The server has hung up.");
                length += read;
            }
        }
        catch (Exception) when (_leaving)
        {
            // As intended.
        }
        catch (Exception exception)
        {
            Console.Error.WriteLine($"A client has been cut off, and what is measured is no longer what it was meant to be: {exception.Message}");
            Environment.Exit(1);
        }
    }

    /// <summary>Returns how many bytes of whole frames there were.</summary>
    int Take(ReadOnlySpan<byte> bytes)
    {
        for (var at = 0; ;)
        {
            var left = bytes[at..];
            if (left.Length < 4) return at;
            var (head, size) = (2, left[1] & 0x7f);
            if (size == 126) (head, size) = (4, BinaryPrimitives.ReadUInt16BigEndian(left[2..]));
            else if (size == 127) throw new InvalidDataException("No server here makes frames of more than 64 KiB.");
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
            if (_begunLength == 0)
            {
                TakeMessage(content[..end]);
                continue;
            }

            content[..end].CopyTo(_begun.AsSpan(_begunLength));
            TakeMessage(_begun.AsSpan(0, _begunLength + end));
            _begunLength = 0;
        }

        content.CopyTo(_begun.AsSpan(_begunLength));
        _begunLength += content.Length;
    }

    void TakeMessage(ReadOnlySpan<byte> message)
    {
        // What is shorter is the protocol's own.
        if (message.Length < payloadAt + Payload.Length) return;
        var (stamp, number) = Payload.Read(message.Slice(payloadAt, Payload.Length));
        received(stamp, number);
    }
}
