using System.Net.WebSockets;

namespace Broadcast.Middleware;

/// <summary>What every filter is told.</summary>
public abstract class FilterContext
{
    readonly Broadcaster _broadcaster;
    readonly Connection _connection;

    private protected FilterContext(Broadcaster broadcaster, Connection connection)
    {
        _broadcaster = broadcaster;
        _connection = connection;
    }

    /// <summary>The connection it is about.</summary>
    public IBroadcastConnection Connection => _connection;

    /// <summary>The broadcast it belongs to, to publish, join, leave or close.</summary>
    public IBroadcaster Broadcaster => _broadcaster;

    /// <summary>The services of the request the connection came with.</summary>
    public IServiceProvider Services => _connection.HttpContext.RequestServices;

    /// <summary>Sends a message to this connection alone, in order with what its groups get.</summary>
    /// <inheritdoc cref="IBroadcaster.PublishAsync" path="/exception"/>
    public ValueTask<PublishResult> ReplyAsync(Message message) =>
        _broadcaster.PublishAsync(message, Recipients.Connection(_connection.Id), CancellationToken.None);

    /// <summary>Sends text to this connection alone, in order with what its groups get.</summary>
    public ValueTask<PublishResult> ReplyAsync(string text) => ReplyAsync(Message.FromText(text));

    /// <summary>Ends this connection: it gets what was published before, then a close frame. Its further messages are dropped.</summary>
    /// <inheritdoc cref="IBroadcaster.CloseAsync" path="/param"/>
    /// <exception cref="ArgumentException">The code may not be sent, or the reason is too long.</exception>
    public void Close(WebSocketCloseStatus status = WebSocketCloseStatus.NormalClosure, string? reason = null)
    {
        CloseStatus.ThrowIfNotSendable(status, reason);
        _connection.Close(EndReason.ClosedByApp, status, reason);
    }

    private protected Connection OwnConnection => _connection;
}
