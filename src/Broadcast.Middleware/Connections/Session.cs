using System.Buffers.Text;
using System.Security.Cryptography;
using System.Text;

namespace Broadcast.Middleware;

/// <summary>
/// By which the client of a connection whose line was lost can come back to it on another: a token that nobody else has, and a time in
/// which the connection, without a line, goes on to be a member of its groups.
/// </summary>
/// <remarks>
/// A request serves the connection, and still holds it when the line is lost. One that comes with the token claims it, and is handed it.
/// </remarks>
sealed class Session(Connection connection, Broadcaster broadcaster)
{
    readonly Lock _gate = new();
    string _token = NewToken();

    // The one the client came back with. It counts too until the client has shown that it has the newer one, which can be lost on the way.
    string? _tokenBefore;
    TaskCompletionSource<bool>? _claim;
    TaskCompletionSource<bool>? _wait;
    TaskCompletionSource? _taken;
    bool _hasEnded;

    /// <summary>What the client is told when it connects.</summary>
    public string FirstToken => _token;

    /// <summary>Whether a request waits for the connection.</summary>
    public bool IsClaimed
    {
        get
        {
            lock (_gate) return _claim is not null;
        }
    }

    /// <summary>The client has this token.</summary>
    public void Confirm(string token)
    {
        lock (_gate)
        {
            if (_token == token) _tokenBefore = null;
        }
    }

    /// <summary>
    /// Ends when the connection belongs to the caller, and has no line: then a new token; null if it does not come to that. The last one to
    /// claim it gets it.
    /// </summary>
    public async Task<string?> ClaimAsync(string token)
    {
        TaskCompletionSource<bool> claim;
        string newToken;
        lock (_gate)
        {
            if (_hasEnded || !(IsSame(token, _token) || IsSame(token, _tokenBefore))) return null;
            (_tokenBefore, _token) = (token, newToken = NewToken());
            _claim?.TrySetResult(false);
            _claim = null;
            if (_wait is { } wait)
            {
                _wait = null;
                _taken = new(TaskCreationOptions.RunContinuationsAsynchronously);
                wait.SetResult(true);
                return newToken;
            }

            claim = _claim = new(TaskCreationOptions.RunContinuationsAsynchronously);
        }

        // The server may not have noticed yet that the line is lost.
        connection.Abort(EndReason.Lost);
        try
        {
            return await claim.Task.WaitAsync(broadcaster.Options.RecoveryTimeout, broadcaster.Time) ? newToken : null;
        }
        catch (TimeoutException)
        {
            // A filter holds it.
            lock (_gate)
            {
                if (_claim == claim) _claim = null;
                else if (claim.Task is { IsCompletedSuccessfully: true, Result: true }) return newToken;
                return null;
            }
        }
    }

    /// <summary>
    /// The line is lost. True if a client has come back, so that the connection belongs to another request now, and has nothing of the one before.
    /// </summary>
    public async Task<bool> WaitAsync()
    {
        if (!await WaitForClaimAsync()) return false;
        await _taken!.Task;
        return true;
    }

    async Task<bool> WaitForClaimAsync()
    {
        TaskCompletionSource<bool> wait;
        lock (_gate)
        {
            if (_claim is { } claim)
            {
                _claim = null;
                _taken = new(TaskCreationOptions.RunContinuationsAsynchronously);
                return claim.TrySetResult(true);
            }

            if (_hasEnded) return false;
            wait = _wait = new(TaskCreationOptions.RunContinuationsAsynchronously);
        }

        if (!broadcaster.Waiting.TryEnter(connection.HttpContext, out var room)) return !TryEnd(wait) && await wait.Task;
        try
        {
            // A goodbye may have come in between, or too much have gathered.
            if (connection.Writer.ClosingStatus is not null) GiveUp();
            connection.Writer.Pump.Post(connection.Writer);
            return await wait.Task.WaitAsync(broadcaster.Options.RecoveryTimeout, broadcaster.Time);
        }
        catch (TimeoutException)
        {
            return !TryEnd(wait) && await wait.Task;
        }
        finally
        {
            broadcaster.Waiting.Leave(room);
        }
    }

    /// <summary>The claimant has put its own request in the place of the one before.</summary>
    public void OnTaken() => _taken?.TrySetResult();

    /// <summary>Nobody can come back any more.</summary>
    public void GiveUp()
    {
        lock (_gate)
        {
            if (_wait is not { } wait) return;
            (_wait, _hasEnded) = (null, true);
            wait.SetResult(false);
        }
    }

    public void End()
    {
        lock (_gate)
        {
            _hasEnded = true;
            _claim?.TrySetResult(false);
            _taken?.TrySetResult();
        }
    }

    bool TryEnd(TaskCompletionSource<bool> wait)
    {
        lock (_gate)
        {
            if (_wait != wait) return false;
            (_wait, _hasEnded) = (null, true);
            return true;
        }
    }

    static string NewToken() => Base64Url.EncodeToString(RandomNumberGenerator.GetBytes(32));

    static bool IsSame(string token, string? expected) =>
        expected is not null && CryptographicOperations.FixedTimeEquals(Encoding.UTF8.GetBytes(token), Encoding.UTF8.GetBytes(expected));
}
