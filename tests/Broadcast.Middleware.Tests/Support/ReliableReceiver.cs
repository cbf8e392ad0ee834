using System.Globalization;
using System.Text;
using System.Text.Json;

namespace Broadcast.Middleware.Tests.Support;

/// <summary>
/// A client of the reliable subprotocol. Like the published clients, this client drops each message whose sequence ID
/// is not higher than the last received ID. The client keeps its state across transports.
/// </summary>
sealed class ReliableReceiver
{
    /// <summary>All connections of a broadcast share one protocol instance, as in an app.</summary>
    public static ProtocolDescriptor Protocol { get; } = new(new ReliableJsonProtocol());

    readonly Lock _gate = new();
    readonly List<int> _got = [];
    long _lastId;

    /// <summary>The highest sequence ID that the client received.</summary>
    public long LastId => Volatile.Read(ref _lastId);

    /// <summary>The numbers of the messages and replies that the client received and did not drop.</summary>
    public IReadOnlyList<int> Got => _got;

    public int Count
    {
        get
        {
            lock (_gate) return _got.Count;
        }
    }

    /// <summary>The numbers of the received messages and replies without a sequence ID.</summary>
    public List<int> WithoutId { get; } = [];

    /// <summary>The number of dropped messages.</summary>
    public int Dropped { get; private set; }

    public string? Token { get; private set; }

    public string? Problem { get; private set; }

    public static Message Numbered(int number, int size = 0, string? key = null) =>
        new(Encoding.UTF8.GetBytes(Text(number).PadRight(size, '.')), MessageType.Text) { Key = key };

    /// <summary>Creates the reply to a request. The client receives replies and messages in the order of sending.</summary>
    public static Message Answer(int number) =>
        new(Encoding.UTF8.GetBytes("{\"type\":\"ack\",\"ackId\":" + Text(number) + "}"), MessageType.Text) { IsVerbatim = true };

    /// <summary>
    /// Reports the number and sequence ID of each message and reply, and each reconnection token. Returns the first
    /// error, or null.
    /// </summary>
    public static string? Parse(ReadOnlySpan<byte> frames, Action<int, long?, bool> onMessage, Action<string>? onToken = null) => FrameParser.Read(frames, (_, payload) =>
    {
        var reader = new Utf8JsonReader(payload);
        using var json = JsonDocument.ParseValue(ref reader);
        switch (json.RootElement.GetProperty("type").GetString())
        {
            case "message":
                var number = int.Parse(json.RootElement.GetProperty("data").GetString()!.TrimEnd('.'), CultureInfo.InvariantCulture);
                onMessage(number, json.RootElement.TryGetProperty("sequenceId", out var id) ? id.GetInt64() : null, false);
                break;
            case "ack":
                onMessage(json.RootElement.GetProperty("ackId").GetInt32(), null, true);
                break;
            case "system" when json.RootElement.TryGetProperty("reconnectionToken", out var token):
                onToken?.Invoke(token.GetString()!);
                break;
        }
    });

    /// <summary>Receives at most <paramref name="most"/> frames of a write. Loses the other frames.</summary>
    public void Receive(ReadOnlySpan<byte> frames, int most = int.MaxValue)
    {
        lock (_gate)
        {
            Problem ??= Parse(frames, (number, id, _) =>
            {
                if (most-- <= 0) return;
                if (id is null)
                {
                    WithoutId.Add(number);
                }
                else if (id <= _lastId)
                {
                    Dropped++;
                    return;
                }
                else
                {
                    Volatile.Write(ref _lastId, id.Value);
                }

                _got.Add(number);
            }, token =>
            {
                if (most-- > 0) Token = token;
            });
        }
    }

    static string Text(int number) => number.ToString(CultureInfo.InvariantCulture);
}
