using Broadcast.Middleware.Testing.Hosting;

namespace Broadcast.Middleware.Testing;

/// <summary>
/// A client of a <see cref="BroadcastTestHost"/>. A client reads from the server only while the test waits for the
/// client. Do not wait for two results of one client at the same time.
/// </summary>
/// <remarks>
/// Every wait ends with a <see cref="TimeoutException"/> after <see cref="BroadcastTestHost.Timeout"/>. If the server
/// ends the connection instead, the wait ends with a <see cref="BroadcastTestException"/>.
/// </remarks>
public abstract class TestClient : IAsyncDisposable
{
    readonly TestClientState _state;
    readonly InMemoryStream _stream;
    volatile bool _isDisconnected;

    private protected TestClient(TestClientState state, InMemoryStream stream) => (_state, _stream) = (state, stream);

    /// <summary>
    /// The connection on the server. You can still read the properties of this object after the connection has ended.
    /// </summary>
    /// <exception cref="InvalidOperationException">
    /// The server has not yet created the connection.
    /// </exception>
    public IBroadcastConnection Connection => _state.Context?.Connection ?? throw new InvalidOperationException(
        "The server has no connection for this client. Use this property after the server has admitted the client.");

    /// <summary>
    /// Disconnects without a close frame, as a broken network does. Unread bytes are lost. The server notices the loss
    /// on another thread.
    /// </summary>
    public void Drop()
    {
        _isDisconnected = true;
        _stream.Reset();
    }

    /// <summary>Disconnects, if the client is still connected.</summary>
    public ValueTask DisposeAsync()
    {
        GC.SuppressFinalize(this);
        _isDisconnected = true;
        return _stream.DisposeAsync();
    }

    /// <summary>Disconnects because the host has ended.</summary>
    internal void OnHostEnded() => _stream.Reset();

    private protected BroadcastTestException CreateEndedException(string problem, Exception cause) => new(
        _isDisconnected
            ? "The test has disconnected this client with Drop or DisposeAsync. Connect a new client."
            : $"{problem} Look for an error in the log of the app.",
        cause);

    /// <summary>
    /// Publishes a message to this client only. Before this message, the client receives all messages that the app
    /// published before this call. A connection receives the messages of a node in the order of the publish calls.
    /// </summary>
    /// <returns>The text of the message. Null if the server has no connection that can receive messages.</returns>
    private protected async Task<string?> PublishMarkerAsync()
    {
        if (_state.Context is not { } context) return null;
        var marker = $"marker of the test kit {Guid.NewGuid():N}";
        var result = await context.Broadcaster.PublishAsync(marker, Recipients.Connection(context.Connection.Id));
        return result.LocalRecipients == 0 ? null : marker;
    }
}
