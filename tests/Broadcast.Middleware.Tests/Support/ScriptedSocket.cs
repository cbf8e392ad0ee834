using System.Collections.Concurrent;
using System.Net.WebSockets;
using System.Text;
using System.Threading.Channels;
using NSubstitute;

namespace Broadcast.Middleware.Tests.Support;

/// <summary>A substitute for a <see cref="WebSocket"/> that receives scripted messages and records sent messages.</summary>
/// <remarks>Like a real socket, the substitute ends every waiting call when it is aborted.</remarks>
sealed class ScriptedSocket
{
    readonly Channel<Func<Incoming>> _incoming = Channel.CreateUnbounded<Func<Incoming>>();
    readonly TaskCompletionSource _aborted = new(TaskCreationOptions.RunContinuationsAsynchronously);
    Incoming? _partlyRead;

    public ScriptedSocket()
    {
#pragma warning disable CA2012 // NSubstitute needs calls without an await to describe the calls of the substitute.
        Socket.ReceiveAsync(Arg.Any<Memory<byte>>(), Arg.Any<CancellationToken>())
            .Returns(call => ReceiveAsync(call.Arg<Memory<byte>>()));
        Socket.SendAsync(Arg.Any<ReadOnlyMemory<byte>>(), Arg.Any<WebSocketMessageType>(), Arg.Any<bool>(), Arg.Any<CancellationToken>())
            .Returns(call => SendAsync(call.Arg<ReadOnlyMemory<byte>>(), call.Arg<WebSocketMessageType>(), call.Arg<bool>()));
#pragma warning restore CA2012
        Socket.CloseOutputAsync(Arg.Any<WebSocketCloseStatus>(), Arg.Any<string?>(), Arg.Any<CancellationToken>())
            .Returns(call => CloseOutputAsync());
        Socket.When(socket => socket.Abort()).Do(_ => _aborted.TrySetException(new WebSocketException(WebSocketError.InvalidState)));
    }

    public WebSocket Socket { get; } = Substitute.For<WebSocket>();

    /// <summary>A callback that runs before a message counts as sent.</summary>
    public Func<Task> Sending { get; set; } = static () => Task.CompletedTask;

    /// <summary>A callback that runs before a close frame counts as sent.</summary>
    public Func<Task> Closing { get; set; } = static () => Task.CompletedTask;

    /// <summary>True if the peer answers a close frame.</summary>
    public bool AnswersClose { get; set; } = true;

    public ConcurrentQueue<Outgoing> Sent { get; } = [];

    public IEnumerable<string> SentTexts => Sent.Select(message => Encoding.UTF8.GetString(message.Bytes));

    /// <summary>The number of sends in progress.</summary>
    public int Pending;

    public bool IsAborted => _aborted.Task.IsCompleted;

    public void Receives(string text) => Receives(Encoding.UTF8.GetBytes(text), WebSocketMessageType.Text);

    public void Receives(byte[] bytes, WebSocketMessageType type, bool end = true) =>
        _incoming.Writer.TryWrite(() => new(bytes, type, end));

    public void ReceivesClose(WebSocketCloseStatus? status = WebSocketCloseStatus.NormalClosure, string? reason = null) =>
        _incoming.Writer.TryWrite(() =>
        {
            Socket.CloseStatus.Returns(status);
            Socket.CloseStatusDescription.Returns(reason);
            return new([], WebSocketMessageType.Close, true);
        });

    public void ReceiveFails(Exception error) => _incoming.Writer.TryWrite(() => throw error);

    async ValueTask<ValueWebSocketReceiveResult> ReceiveAsync(Memory<byte> buffer)
    {
        if (_partlyRead is not { } incoming)
        {
            var next = _incoming.Reader.ReadAsync().AsTask();
            await await Task.WhenAny(next, _aborted.Task);
            incoming = (await next)();
        }

        var count = Math.Min(buffer.Length, incoming.Bytes.Length);
        incoming.Bytes.AsSpan(0, count).CopyTo(buffer.Span);
        _partlyRead = count < incoming.Bytes.Length ? incoming with { Bytes = incoming.Bytes[count..] } : null;
        return new(count, incoming.Type, incoming.End && _partlyRead is null);
    }

    async ValueTask SendAsync(ReadOnlyMemory<byte> bytes, WebSocketMessageType type, bool end)
    {
        Assert.Equal(1, Interlocked.Increment(ref Pending));
        try
        {
            await await Task.WhenAny(Sending(), _aborted.Task);
            Sent.Enqueue(new(bytes.ToArray(), type, end));
        }
        finally
        {
            Interlocked.Decrement(ref Pending);
        }
    }

    async Task CloseOutputAsync()
    {
        Assert.Equal(0, Pending);
        await await Task.WhenAny(Closing(), _aborted.Task);
        if (AnswersClose) ReceivesClose();
    }

    readonly record struct Incoming(byte[] Bytes, WebSocketMessageType Type, bool End);

    public readonly record struct Outgoing(byte[] Bytes, WebSocketMessageType Type, bool EndOfMessage);
}
