using Microsoft.AspNetCore.Http;

namespace Broadcast.Middleware;

/// <summary>Counts the connections that have lost their lines and wait for their clients.</summary>
/// <param name="most">How many there may be.</param>
sealed class WaitingRoom(int most)
{
    // A request of HTTP/2 that is over for its client still counts among those of its line, of which servers allow a hundred or so: many more,
    // and the server ends the line, with all that is on it.
    const int MostOfOneLine = 32;

    readonly Dictionary<string, int> _ofLine = new(StringComparer.Ordinal);
    readonly Lock _gate = new();
    int _count;
    bool _isClosed;

    /// <summary>Counts one in; false if there are as many as may be.</summary>
    /// <param name="request">Which is held while it waits.</param>
    /// <param name="line">For <see cref="Leave"/>.</param>
    public bool TryEnter(HttpContext request, out string? line)
    {
        line = HttpProtocol.IsHttp2(request.Request.Protocol) ? request.Connection.Id : null;
        lock (_gate)
        {
            if (_isClosed || _count == most || ConnectionLimits.IsFull(_ofLine, line, MostOfOneLine)) return false;
            Change(line, 1);
            return true;
        }
    }

    public void Leave(string? line)
    {
        lock (_gate) Change(line, -1);
    }

    void Change(string? line, int change)
    {
        _count += change;
        ConnectionLimits.Add(_ofLine, line, change);
    }

    /// <summary>The app ends: nobody waits any more.</summary>
    public void Close()
    {
        lock (_gate) _isClosed = true;
    }
}
