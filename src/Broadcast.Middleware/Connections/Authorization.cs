using System.Net.WebSockets;
using Microsoft.AspNetCore.Authentication;

namespace Broadcast.Middleware;

/// <summary>Sees to it that a connection does not outlive what it was authenticated with. Its pump asks at each beat.</summary>
sealed class Authorization : IDisposable
{
    readonly Connection _connection;
    readonly Broadcaster _broadcaster;
    readonly CancellationTokenSource _ended = new();
    DateTimeOffset _expires;
    DateTimeOffset _nextCheck;
    int _isChecking;

    Authorization(Connection connection, Broadcaster broadcaster, DateTimeOffset expires)
    {
        (_connection, _broadcaster, _expires) = (connection, broadcaster, expires);
        Schedule();
    }

    /// <summary>Null if nothing about the connection can expire.</summary>
    public static Authorization? Of(Connection connection, Broadcaster broadcaster)
    {
        var properties = connection.HttpContext.Features.Get<IAuthenticateResultFeature>()?.AuthenticateResult?.Properties;
        var expires = broadcaster.Options.CloseOnAuthenticationExpiration ? properties?.ExpiresUtc : null;
        return expires is null && broadcaster.Revalidator is null ? null : new(connection, broadcaster, expires ?? DateTimeOffset.MaxValue);
    }

    public void OnBeat()
    {
        if (_broadcaster.Time.GetUtcNow() < _nextCheck || Interlocked.Exchange(ref _isChecking, 1) != 0) return;
        // Elsewhere: it is the app's code, and a pump has others to serve.
        if (_broadcaster.Revalidator is { } revalidator) _ = Task.Run(() => CheckAsync(revalidator));
        else Expire();
    }

    /// <summary>The connection has ended: whoever is asked about it need not answer.</summary>
    public void Dispose()
    {
        _ended.Cancel();
        _ended.Dispose();
    }

    async Task CheckAsync(IConnectionRevalidator revalidator)
    {
        try
        {
            if (await revalidator.IsValidAsync(_connection, _ended.Token))
            {
                // What has expired by now was found valid all the same.
                if (_broadcaster.Time.GetUtcNow() >= _expires) _expires = DateTimeOffset.MaxValue;
                Schedule();
                Volatile.Write(ref _isChecking, 0);
            }
            else if (!_ended.IsCancellationRequested)
            {
                Expire();
            }
        }
        catch (Exception exception)
        {
            if (!_ended.IsCancellationRequested) _connection.CloseFailed(exception);
        }
    }

    void Schedule()
    {
        var interval = _broadcaster.Revalidator is null ? Timeout.InfiniteTimeSpan : _broadcaster.Options.RevalidationInterval;
        var next = interval == Timeout.InfiniteTimeSpan ? DateTimeOffset.MaxValue : _broadcaster.Time.GetUtcNow() + interval;
        _nextCheck = next < _expires ? next : _expires;
    }

    void Expire() => _connection.Close(
        EndReason.AuthenticationExpired, WebSocketCloseStatus.PolicyViolation, "The authentication has expired: connect again.");
}
