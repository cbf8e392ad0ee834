using System.Globalization;
using System.Text;
using System.Text.Json;

namespace Broadcast.Middleware.Tests.Recovery;

/// <summary>
/// A client of the reliable subprotocol, as the published ones are: it drops messages whose ids are not above its last one, and acknowledges
/// that. Through all of its lines.
/// </summary>
sealed class ReliableClient
{
    /// <summary>All connections of a broadcast share it, as they do in an app.</summary>
    public static KnownProtocol Protocol { get; } = new(new ReliableJsonProtocol());

    readonly Lock _gate = new();
    readonly List<int> _got = [];
    long _lastId;

    /// <summary>The highest sequence id it has.</summary>
    public long LastId => Volatile.Read(ref _lastId);

    /// <summary>What it has got and not dropped, by the numbers in the messages.</summary>
    public IReadOnlyList<int> Got => _got;

    public int Count
    {
        get
        {
            lock (_gate) return _got.Count;
        }
    }

    /// <summary>What of that came without an id.</summary>
    public List<int> WithoutId { get; } = [];

    /// <summary>How many it has dropped.</summary>
    public int Dropped { get; private set; }

    public string? Token { get; private set; }

    public string? Problem { get; private set; }

    public static Message Numbered(int number, int size = 0, string? key = null) =>
        new(Encoding.UTF8.GetBytes(Text(number).PadRight(size, '.')), MessageType.Text) { Key = key };

    /// <summary>What a request is answered with, in order with the messages.</summary>
    public static Message Answer(int number) =>
        new(Encoding.UTF8.GetBytes("{\"type\":\"ack\",\"ackId\":" + Text(number) + "}"), MessageType.Text) { IsVerbatim = true };

    /// <summary>What each frame is: its number, and its id; nothing of what is neither a message nor an answer.</summary>
    public static string? Parse(ReadOnlySpan<byte> frames, Action<int, long?, bool> onMessage, Action<string>? onToken = null) => Properties.Wire.Read(frames, (_, payload) =>
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

    /// <summary>Takes the first so many frames of a write; the rest is lost on the way.</summary>
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
