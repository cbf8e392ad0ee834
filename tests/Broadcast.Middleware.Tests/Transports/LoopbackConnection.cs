using System.IO.Pipelines;
using System.Net;
using System.Net.Sockets;
using Microsoft.AspNetCore.Connections;
using NSubstitute;

namespace Broadcast.Middleware.Tests.Transports;

/// <summary>A loopback connection between an <see cref="InlineWriter"/> and a socket. A test decides whether the socket reads.</summary>
sealed class LoopbackConnection : IDisposable
{
    /// <summary>A number of bytes that is far larger than the capacity of small buffers.</summary>
    public const int TooMuch = 1024 * 1024;

    // The length is prime, so that a test detects lost, repeated or swapped bytes.
    static readonly byte[] Pattern = MakePattern(65_521);

    readonly Socket _socket;
    readonly Socket _peer;
    long _written;
    long _read;

    LoopbackConnection(Socket socket, Socket peer)
    {
        _socket = socket;
        _socket.Blocking = false;
        _peer = peer;
        Writer = NewWriter();
    }

    public ConnectionContext Connection { get; } = Substitute.For<ConnectionContext>();

    public InlineWriter Writer { get; }

    public long Written => _written;

    static CancellationToken Token => TestContext.Current.CancellationToken;

    public static LoopbackConnection Open(int buffers = 4096)
    {
        using var listener = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { SendBufferSize = buffers };
        listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        listener.Listen();
        var peer = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp)
        {
            ReceiveBufferSize = buffers,
            ReceiveTimeout = 10_000,
        };
        peer.Connect(listener.LocalEndPoint!);
        var socket = listener.Accept();
        socket.NoDelay = true;
        return new(socket, peer);
    }

    /// <summary>Creates another writer on the same socket.</summary>
    public InlineWriter NewWriter() => new(Connection, Substitute.For<IDuplexPipe>(), _socket);

    /// <summary>
    /// Writes the next bytes of the pattern. Each piece fits into the memory that the writer returns.
    /// </summary>
    public void Write(int count, Func<int, int>? hint = null)
    {
        while (count > 0)
        {
            var memory = Writer.GetMemory(hint?.Invoke(count) ?? 1);
            Assert.False(memory.IsEmpty, "GetMemory returned no space.");
            var bytes = Math.Min(count, memory.Length);
            WritePattern(memory.Span[..bytes]);
            Writer.Advance(bytes);
            count -= bytes;
        }
    }

    /// <summary>Returns the next bytes of the pattern, for tests that write them directly.</summary>
    public byte[] Next(int count)
    {
        var bytes = new byte[count];
        WritePattern(bytes);
        return bytes;
    }

    /// <summary>Starts a flush that cannot complete, because the peer does not read.</summary>
    public ValueTask<FlushResult> Stall(CancellationToken cancellationToken = default)
    {
        Write(TooMuch);
        var flush = Writer.FlushAsync(cancellationToken);
        Assert.False(flush.IsCompleted);
        return flush;
    }

    /// <summary>Reads <paramref name="count"/> bytes. The bytes must be the next bytes of the pattern.</summary>
    public async Task ReadAsync(long count, Func<int>? nextSize = null)
    {
        var buffer = new byte[64 * 1024];
        while (count > 0)
        {
            var size = (int)Math.Min(count, nextSize?.Invoke() ?? buffer.Length);
            var received = await ReceiveAsync(buffer.AsMemory(0, size));
            Assert.True(received > 0, $"The connection has ended after {_read} bytes.");
            Check(buffer.AsSpan(0, received));
            count -= received;
        }
    }

    /// <summary>Reads <paramref name="count"/> bytes without checking them.</summary>
    public async Task SkipAsync(int count)
    {
        var buffer = new byte[64 * 1024];
        while (count > 0)
        {
            var received = await ReceiveAsync(buffer.AsMemory(0, Math.Min(count, buffer.Length)));
            Assert.True(received > 0, "The connection has ended.");
            count -= received;
        }
    }

    /// <summary>
    /// Reads synchronously until the buffer is full. The bytes must be the next bytes of the pattern.
    /// </summary>
    public void Read(Span<byte> buffer)
    {
        while (!buffer.IsEmpty)
        {
            var received = _peer.Receive(buffer);
            if (received == 0) Assert.Fail("The connection has ended.");
            Check(buffer[..received]);
            buffer = buffer[received..];
        }
    }

    /// <summary>Reads all bytes that were written and not yet read.</summary>
    public Task ReadRestAsync() => ReadAsync(_written - _read);

    /// <summary>Reads the remaining bytes and checks that no other byte follows.</summary>
    public async Task ReadToEndAsync()
    {
        await ReadRestAsync();
        _socket.Shutdown(SocketShutdown.Send);
        Assert.Equal(0, await ReceiveAsync(new byte[1]));
    }

    public void ResetByPeer()
    {
        _peer.LingerState = new LingerOption(true, 0);
        _peer.Dispose();
    }

    public void DisposeSocket() => _socket.Dispose();

    public void AssertAborted() => Connection.Received().Abort(Arg.Any<ConnectionAbortedException>());

    public void AssertNotAborted() => Connection.DidNotReceive().Abort(Arg.Any<ConnectionAbortedException>());

    public void Dispose()
    {
        _peer.Dispose();
        _socket.Dispose();
    }

    static byte[] MakePattern(int length)
    {
        var pattern = new byte[length];
        new Random(1).NextBytes(pattern);
        return pattern;
    }

    void WritePattern(Span<byte> target)
    {
        while (!target.IsEmpty)
        {
            var piece = Piece(_written, target.Length);
            piece.CopyTo(target);
            target = target[piece.Length..];
            _written += piece.Length;
        }
    }

    void Check(ReadOnlySpan<byte> received)
    {
        while (!received.IsEmpty)
        {
            var piece = Piece(_read, received.Length);
            if (!received.StartsWith(piece)) Assert.Fail($"Wrong bytes within the {piece.Length} bytes from position {_read}.");
            received = received[piece.Length..];
            _read += piece.Length;
        }
    }

    static ReadOnlySpan<byte> Piece(long position, int length)
    {
        var start = (int)(position % Pattern.Length);
        return Pattern.AsSpan(start, Math.Min(length, Pattern.Length - start));
    }

    async ValueTask<int> ReceiveAsync(Memory<byte> buffer)
    {
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(Token);
        patience.CancelAfter(TimeSpan.FromSeconds(30));
        return await _peer.ReceiveAsync(buffer, patience.Token);
    }
}
