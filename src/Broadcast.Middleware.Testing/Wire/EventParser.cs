using System.Globalization;
using System.Text;

namespace Broadcast.Middleware.Testing.Wire;

/// <summary>
/// Parses an event stream as sections 9.2.5 and 9.2.6 of the HTML standard define. The parser fails on input that a
/// browser ignores, for example an unknown field or an event without data.
/// </summary>
sealed class EventParser
{
    readonly Decoder _decoder = new UTF8Encoding(false, throwOnInvalidBytes: true).GetDecoder();
    readonly Queue<ServerEvent> _events = new();
    readonly StringBuilder _line = new();
    readonly StringBuilder _data = new();
    string _type = "";
    string _id = "";
    bool _hasId;
    bool _isFirst = true;
    bool _afterReturn;

    /// <summary>The value that a browser would send as Last-Event-ID.</summary>
    public string LastEventId { get; private set; } = "";

    /// <summary>The first ID of the stream.</summary>
    public string? FirstId { get; private set; }

    /// <summary>
    /// The time in milliseconds that a browser waits before it reconnects. Null if the browser uses its default.
    /// </summary>
    public int? Retry { get; private set; }

    public bool HasEvents => _events.Count > 0;

    public int Comments { get; private set; }

    /// <summary>True if the stream can end here without an incomplete event.</summary>
    public bool IsBetweenEvents => _line.Length == 0 && _data.Length == 0 && _type.Length == 0 && !_hasId;

    public bool TryTake(out ServerEvent? next) => _events.TryDequeue(out next);

    public void Feed(ReadOnlySpan<byte> bytes)
    {
        var text = new char[_decoder.GetCharCount(bytes, flush: false)];
        _decoder.GetChars(bytes, text, flush: false);
        foreach (var character in text)
        {
            // A byte order mark at the start does not belong to the stream.
            if (_isFirst && character == '\uFEFF')
            {
                _isFirst = false;
                continue;
            }

            _isFirst = false;
            var isPair = _afterReturn && character == '\n';
            _afterReturn = character == '\r';
            if (isPair) continue;
            if (character is '\r' or '\n') EndLine();
            else _line.Append(character);
        }
    }

    void EndLine()
    {
        var line = _line.ToString();
        _line.Clear();
        if (line.Length == 0)
        {
            Dispatch();
            return;
        }

        var colon = line.IndexOf(':', StringComparison.Ordinal);
        if (colon == 0)
        {
            Comments++;
            return;
        }

        var (field, value) = colon < 0 ? (line, "") : (line[..colon], line[(colon + 1)..]);
        if (value.StartsWith(' ')) value = value[1..];
        switch (field)
        {
            case "event":
                _type = value;
                break;
            case "data":
                _data.Append(value).Append('\n');
                break;
            case "id":
                if (value.Contains('\0')) throw new BroadcastTestException("An event ID contains NUL.");
                (_id, _hasId) = (value, true);
                break;
            case "retry":
                Retry = int.Parse(value, NumberStyles.None, CultureInfo.InvariantCulture);
                break;
            default:
                throw new BroadcastTestException($"Unknown event field: {line}");
        }
    }

    void Dispatch()
    {
        LastEventId = _id;
        if (_hasId) FirstId ??= _id;
        if (_data.Length > 0)
        {
            var data = _data.ToString(0, _data.Length - 1);
            _events.Enqueue(new(_type.Length == 0 ? "message" : _type, data, LastEventId, _hasId));
        }
        else if (_type.Length > 0)
        {
            throw new BroadcastTestException($"A browser does not dispatch an event without data: {_type}");
        }

        _data.Clear();
        (_type, _hasId) = ("", false);
    }
}
