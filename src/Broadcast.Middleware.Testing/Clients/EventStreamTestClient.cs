using Broadcast.Middleware.Testing.Hosting;
using Broadcast.Middleware.Testing.Wire;

namespace Broadcast.Middleware.Testing;

/// <summary>
/// A client of server-sent events, such as the <c>EventSource</c> of a browser. Create a client with
/// <see cref="BroadcastTestHost.ConnectEventStreamAsync"/>.
/// </summary>
public sealed class EventStreamTestClient : TestClient
{
    readonly Queue<ReceivedEvent> _received = new();
    readonly EventStreamWire _wire;

    internal EventStreamTestClient(TestClientState state, InMemoryStream stream, EventStreamWire wire)
        : base(state, stream) => _wire = wire;

    /// <summary>
    /// The ID that a browser would send after a reconnect. Pass this ID to
    /// <see cref="BroadcastTestHost.ConnectEventStreamAsync"/> to recover missed messages. Empty if the server has sent
    /// no ID.
    /// </summary>
    public string LastEventId => _wire.LastEventId;

    /// <summary>Waits for the next event.</summary>
    /// <exception cref="BroadcastTestException">The stream ended instead.</exception>
    public async Task<ReceivedEvent> ReceiveAsync() => _received.TryDequeue(out var next) ? next : await ReadAsync();

    /// <summary>Waits for the next event, which must be a text message, and returns its data.</summary>
    /// <exception cref="BroadcastTestException">The server sent another event or ended the stream instead.</exception>
    public async Task<string> ReceiveTextAsync()
    {
        var next = await ReceiveAsync();
        if (next.Type == "message") return next.Data;
        throw new BroadcastTestException(
            $"The client expected a text message, but received the {next}. Call ReceiveAsync for other events.");
    }

    /// <summary>
    /// Waits for the event <c>close</c>, which replaces a close frame, and for the end of the stream.
    /// </summary>
    /// <returns>The close code (RFC 6455, section 7.4) and the reason.</returns>
    /// <exception cref="BroadcastTestException">The server sent another event first.</exception>
    public async Task<(int Code, string Reason)> ReceiveCloseAsync()
    {
        var next = await ReceiveAsync();
        if (next.Type != "close")
            throw new BroadcastTestException($"The client expected the event 'close', but received the {next}.");
        await _wire.ReadToEndAsync();
        var space = next.Data.IndexOf(' ', StringComparison.Ordinal);
        var code = int.Parse(next.Data[..space], System.Globalization.CultureInfo.InvariantCulture);
        return (code, next.Data[(space + 1)..]);
    }

    /// <summary>
    /// Asserts that no further event has arrived, and that the stream is open. The method does not wait for a fixed
    /// time. The method waits until the server has sent all messages that the app published before this call.
    /// </summary>
    /// <inheritdoc cref="RawTestClient.ReceiveNothingAsync" path="/remarks"/>
    /// <exception cref="BroadcastTestException">The client received an event, or the stream ended.</exception>
    public async Task ReceiveNothingAsync()
    {
        // If an event has arrived, the assertion fails without a read. After the event "close", a read would fail,
        // because the stream has ended.
        if (_received.Count == 0) await ReadToMarkerAsync();
        if (_received.TryPeek(out var first))
            throw new BroadcastTestException($"The client expected no event, but received the {first}.");
    }

    async Task ReadToMarkerAsync()
    {
        var marker = await PublishMarkerAsync();
        ReceivedEvent next;
        do
        {
            next = await ReadAsync("an open stream");
            if (next.Data != marker) _received.Enqueue(next);
        }
        while (marker is not null && next.Data != marker && next.Type != "close");
    }

    async Task<ReceivedEvent> ReadAsync(string expected = "an event")
    {
        try
        {
            var next = await _wire.NextAsync();
            return new(next.Type, next.Data);
        }
        catch (TransportEndedException exception)
        {
            throw CreateEndedException($"The client expected {expected}, but the event stream ended.", exception);
        }
    }
}
