using System.Buffers.Text;
using System.Net.WebSockets;
using System.Security.Claims;
using System.Security.Cryptography;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features.Authentication;

namespace Broadcast.Middleware;

/// <summary>
/// One client: who it is, its memberships, and the two ways in which it ends. <see cref="Close"/> says goodbye and gives the peer
/// some time to answer; <see cref="Abort"/> cuts the line. Both can be called from anywhere, any number of times.
/// </summary>
sealed class Connection : IBroadcastConnection
{
    readonly Broadcaster _broadcaster;
    readonly List<Membership> _memberships = new(2); // Its own lock, for the fields below too.
    Exclusions? _itself;
    MessageLog? _lane;
    ITimer? _closeTimer;
    WebSocket? _webSocket;
    bool _hasLeft;
    bool _isBusy;
    bool _isAborting;
    bool _hasEnded;

    public Connection(Broadcaster broadcaster, Pump pump, HttpContext httpContext, string homeGroup)
    {
        _broadcaster = broadcaster;
        HttpContext = httpContext;
        HomeGroup = homeGroup;
        Id = Base64Url.EncodeToString(RandomNumberGenerator.GetBytes(16));
        // Not HttpContext.User, which would make an anonymous one to keep for as long as the connection lasts.
        UserId = httpContext.Features.Get<IHttpAuthenticationFeature>()?.User?.FindFirst(ClaimTypes.NameIdentifier)?.Value;
        ConnectedAt = broadcaster.Time.GetUtcNow();
        Writer = new ConnectionWriter(this, pump, broadcaster.Clock, broadcaster.Heartbeat, broadcaster.Options.MaxBacklogBytes);
    }

    public string Id { get; }
    public string? UserId { get; }
    public string HomeGroup { get; }
    public DateTimeOffset ConnectedAt { get; }
    public HttpContext HttpContext { get; }
    public ClaimsPrincipal User => HttpContext.User;
    public ConnectionWriter Writer { get; }

    /// <summary>Whether it was let into its group when it connected.</summary>
    public bool IsAttached { get; set; }

    /// <summary>Whether a message of its own is under way, so that nothing is read from it and a silent peer proves nothing.</summary>
    public bool IsBusy
    {
        get => Volatile.Read(ref _isBusy);
        set => Volatile.Write(ref _isBusy, value);
    }

    /// <summary>Says that a message is for everybody else.</summary>
    public Exclusions Itself => _itself ??= new Exclusions(Id);

    /// <summary>The status of the close frame that was, or will be, sent; null while the connection is to stay.</summary>
    public WebSocketCloseStatus? ClosingStatus { get; private set; }

    public IReadOnlyCollection<string> Groups
    {
        get
        {
            lock (_memberships) return [.. _memberships.Select(membership => membership.Group.Name).Where(name => name != Middleware.Groups.Everyone)];
        }
    }

    /// <summary>Begins to send. Until now, and from now on, what is meant for the connection gathers in its logs.</summary>
    public void Open(WebSocket webSocket, Sink sink)
    {
        _webSocket = webSocket;
        Writer.Open(sink);
    }

    public bool IsIn(string group)
    {
        lock (_memberships) return IndexOf(group) >= 0;
    }

    /// <summary>False if it is a member already, or if it has left for good.</summary>
    public bool Join(string group, Groups groups)
    {
        lock (_memberships)
        {
            if (_hasLeft || IndexOf(group) >= 0) return false;
            _memberships.Add(groups.Join(group, Writer));
            return true;
        }
    }

    public bool Leave(string group, Groups groups)
    {
        lock (_memberships)
        {
            if (IndexOf(group) is not (>= 0 and var index)) return false;
            groups.Leave(_memberships[index]);
            _memberships.RemoveAt(index);
            return true;
        }
    }

    /// <summary>Leaves every group, and joins none any more. True the first time.</summary>
    public bool LeaveAll(Groups groups)
    {
        lock (_memberships)
        {
            if (_hasLeft) return false;
            _hasLeft = true;
            foreach (var membership in _memberships) groups.Leave(membership);
            _memberships.Clear();
            return true;
        }
    }

    /// <summary>A message for this connection alone, in order with those of its groups.</summary>
    public void Send(MessageType type, ReadOnlySpan<byte> payload)
    {
        var lane = _lane ?? OpenLane();
        lock (lane.Gate) lane.Append(type, payload, null);
        Writer.Pump.Post(Writer);
    }

    MessageLog OpenLane()
    {
        lock (_memberships)
        {
            if (_lane is { } open) return open;
            var lane = new MessageLog(_broadcaster.Clock, _broadcaster.Options.MaxBacklogBytes);
            lock (lane.Gate) Writer.Pump.Post(new Cursor(lane, Writer, null));
            return _lane = lane;
        }
    }

    /// <summary>
    /// Sends what was published before, then a close frame (RFC 6455, section 7.1.2). A peer that has not answered it in time is cut off.
    /// </summary>
    public void Close(WebSocketCloseStatus status, string? reason)
    {
        lock (_memberships)
        {
            if (_hasLeft || ClosingStatus is not null) return;
            ClosingStatus = status;
            _closeTimer = _broadcaster.Time.CreateTimer(
                static connection => ((Connection)connection!).Abort(), this, _broadcaster.Options.CloseTimeout, Timeout.InfiniteTimeSpan);
            Writer.Close(status, reason);
        }
    }

    public void CloseSlowConsumer()
    {
        _broadcaster.Log.SlowConsumer(Id, _broadcaster.Options.MaxBacklogBytes);
        Close(CloseStatus.TryAgainLater, "Too slow: more messages wait for this connection than the server keeps.");
    }

    /// <summary>Ends the transport, which ends the reads and writes that wait for it. The first call counts.</summary>
    public void Abort(Exception? error = null)
    {
        if (Interlocked.Exchange(ref _isAborting, true)) return;
        if (error is not null) _broadcaster.Log.ConnectionFailed(Id, error.Message);
        // Elsewhere: it runs what the app has registered for the request's end.
        ThreadPool.UnsafeQueueUserWorkItem(static connection => connection.AbortNow(), this, preferLocal: false);
    }

    /// <summary>The same at once, for a caller that is no pump.</summary>
    public void AbortNow()
    {
        // Not the lock that pumps take, for the same reason.
        lock (Writer)
        {
            if (_hasEnded) return;
            _webSocket?.Abort();
            HttpContext.Abort();
        }
    }

    /// <summary>The request is about to end: its context, which the server uses again, is not touched any more.</summary>
    public void End()
    {
        lock (Writer) _hasEnded = true;
        lock (_memberships) _closeTimer?.Dispose();
    }

    int IndexOf(string group) => _memberships.FindIndex(membership => membership.Group.Name == group);
}
