using System.Buffers;
using System.Net.WebSockets;

namespace Broadcast.Middleware.Tests.Support;

/// <summary>A custom protocol of an app, which puts text in angle brackets.</summary>
sealed class OwnProtocol : IBroadcastProtocol
{
    int _writes;

    public int Writes => Volatile.Read(ref _writes);

    public Func<IBroadcastConnection, ReadOnlyMemory<byte>> OnConnected { get; init; } = _ => "welcome"u8.ToArray();

    public Func<ProtocolContext, Message, Task> OnReceive { get; init; } = (context, message) =>
    {
        context.Send(message.Payload);
        return Task.CompletedTask;
    };

    public string Subprotocol => JsonClient.Subprotocol;

    public void Write(IBufferWriter<byte> output, in OutgoingMessage message)
    {
        Interlocked.Increment(ref _writes);
        output.Write("<"u8);
        output.Write(message.Message.Payload.Span);
        output.Write(">"u8);
    }

    public ReadOnlyMemory<byte> Connected(IBroadcastConnection connection) => OnConnected(connection);

    public ReadOnlyMemory<byte> Closing(WebSocketCloseStatus status, string? reason) => default;

    public Task ReceiveAsync(ProtocolContext context, Message message) => OnReceive(context, message);
}
