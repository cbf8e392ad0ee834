using Microsoft.AspNetCore.Authentication;

namespace Broadcast.Middleware;

/// <summary>Sees to it that a connection does not outlive what it was authenticated with. Its pump asks at each beat.</summary>
sealed class Authorization
{
    readonly Connection _connection;
    readonly Broadcaster _broadcaster;
    DateTimeOffset _nextCheck;
    int _isChecking;

    Authorization(Connection connection, Broadcaster broadcaster, DateTimeOffset nextCheck) =>
        (_connection, _broadcaster, _nextCheck) = (connection, broadcaster, nextCheck);

    /// <summary>Null if nothing about the connection can expire.</summary>
    public static Authorization? Of(Connection connection, Broadcaster broadcaster)
    {
        var options = broadcaster.Options;
        var properties = connection.HttpContext.Features.Get<IAuthenticateResultFeature>()?.AuthenticateResult?.Properties;
        var check = options.CloseOnAuthenticationExpiration ? properties?.ExpiresUtc : null;
        if (broadcaster.Revalidator is not null && options.RevalidationInterval != Timeout.InfiniteTimeSpan)
        {
            var interval = connection.ConnectedAt + options.RevalidationInterval;
            if (check is null || interval < check) check = interval;
        }

        return check is { } at ? new(connection, broadcaster, at) : null;
    }

    public void OnBeat()
    {
        if (_broadcaster.Time.GetUtcNow() < _nextCheck || Interlocked.Exchange(ref _isChecking, 1) != 0) return;
        if (_broadcaster.Revalidator is not { } revalidator)
        {
            Expire();
            return;
        }

        // Elsewhere: it is the app's code, and a pump has others to serve.
        _ = Task.Run(() => CheckAsync(revalidator));
    }

    async Task CheckAsync(IConnectionRevalidator revalidator)
    {
        try
        {
            if (!await revalidator.IsValidAsync(_connection, _connection.HttpContext.RequestAborted))
            {
                Expire();
                return;
            }
        }
        catch (Exception exception)
        {
            _connection.CloseFailed(exception);
            return;
        }

        var interval = _broadcaster.Options.RevalidationInterval;
        _nextCheck = interval == Timeout.InfiniteTimeSpan ? DateTimeOffset.MaxValue : _broadcaster.Time.GetUtcNow() + interval;
        Volatile.Write(ref _isChecking, 0);
    }

    void Expire() => _connection.Close(
        EndReason.AuthenticationExpired, System.Net.WebSockets.WebSocketCloseStatus.PolicyViolation, "The authentication has expired: connect again.");
}
