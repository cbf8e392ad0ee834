using System.Buffers.Text;
using System.Diagnostics;
using System.Security.Cryptography;
using System.Text;
using Broadcast.Middleware.Diagnostics;

namespace Broadcast.Middleware.Connections;

/// <summary>
/// Lets a client reconnect after the loss of its transport. The client proves its identity with a secret token. Until
/// the reconnect, the connection stays a member of its groups.
/// </summary>
/// <remarks>
/// After the loss of the transport, the old request waits in <see cref="WaitAsync"/>. A new request with the token
/// claims the connection and takes it over.
/// </remarks>
/// <param name="connection">The connection.</param>
/// <param name="disconnected">Limits the number of waiting connections.</param>
/// <param name="timeout">See <see cref="BroadcastOptions.RecoveryTimeout"/>.</param>
/// <param name="time">The time provider.</param>
sealed class ReconnectSession(
    Connection connection, DisconnectedSessions disconnected, TimeSpan timeout, TimeProvider time)
{
    readonly Lock _gate = new();
    ReconnectState _state;
    string _token = NewToken();

    // The token that the client sent for its last reconnect. This token stays valid until the client has confirmed the
    // newer token.
    string? _previousToken;

    // The token that the client receives on the current transport. Null for the first transport.
    string? _transportToken;

    // Completes when the new request owns the connection, or when the session rejects the claim. Not null in the states
    // Claimed and TakingOverClaimed.
    TaskCompletionSource<bool>? _claim;

    // Completes when a new request claims the connection, or when the client can no longer reconnect. Not null in the
    // state Disconnected.
    TaskCompletionSource<bool>? _wait;

    // Completes when the new request has taken over, or when the connection ends. The old request can then end. Not
    // null in the states TakingOver and TakingOverClaimed.
    TaskCompletionSource? _takeover;

    /// <summary>The token that the client receives when it connects.</summary>
    public string FirstToken => _token;

    /// <summary>True if a request has claimed the connection and still waits.</summary>
    public bool IsClaimed
    {
        get
        {
            lock (_gate) return _claim is not null;
        }
    }

    /// <summary>
    /// Records that the client has received the token of the current transport. The previous token becomes invalid,
    /// unless a new request has claimed the connection.
    /// </summary>
    public void OnTransportConfirmed()
    {
        lock (_gate)
        {
            if (_token == _transportToken) _previousToken = null;
        }
    }

    /// <summary>True if a client can claim the connection with this token.</summary>
    public bool IsValid(string token)
    {
        lock (_gate)
            return _state != ReconnectState.Ended && (IsSame(token, _token) || IsSame(token, _previousToken));
    }

    /// <summary>
    /// Claims the connection. The task completes when the connection has no transport and belongs to the caller. A
    /// newer claim replaces an older claim.
    /// </summary>
    /// <returns>
    /// The new token. Null if the token is invalid, if a newer claim replaces this claim, or if the connection ends.
    /// Also null if the request that serves the connection does not end in time.
    /// </returns>
    public async Task<string?> ClaimAsync(string token)
    {
        TaskCompletionSource<bool> claim;
        string newToken;
        lock (_gate)
        {
            if (!IsValid(token)) return null;
            _previousToken = token;
            _token = newToken = NewToken();
            RejectClaimLocked();
            if (_state == ReconnectState.Disconnected)
            {
                EndWaitLocked(ReconnectState.TakingOver, isClaimed: true);
                return newToken;
            }

            claim = _claim = new(TaskCreationOptions.RunContinuationsAsynchronously);
            SetStateLocked(_state == ReconnectState.Connected
                ? ReconnectState.Claimed
                : ReconnectState.TakingOverClaimed);
            // The server may not have noticed the loss of the transport yet. After the lock, a newer claim could take
            // over, and this call would abort the transport of the newer claim.
            connection.Abort(EndReason.Lost);
        }

        try
        {
            return await claim.Task.WaitAsync(timeout, time) ? newToken : null;
        }
        catch (TimeoutException)
        {
            // The old request did not end in time. For example, a filter still runs.
            lock (_gate)
            {
                if (_claim == claim) RejectClaimLocked();
                return claim.Task is { IsCompletedSuccessfully: true, Result: true } ? newToken : null;
            }
        }
    }

    /// <summary>
    /// Waits until the client reconnects. The request that serves the connection calls this method after the loss of
    /// the transport. Returns true if the connection now belongs to another request, and false if the connection must
    /// end.
    /// </summary>
    /// <param name="http2ConnectionId">
    /// The ID of the HTTP/2 connection of the request. Null for other HTTP versions.
    /// </param>
    public async Task<bool> WaitAsync(string? http2ConnectionId)
    {
        if (!await WaitForClaimAsync(http2ConnectionId)) return false;
        await _takeover!.Task;
        return true;
    }

    /// <summary>Records that the new request has taken over the connection. The old request may now end.</summary>
    /// <param name="token">The token that the client receives on the new transport.</param>
    public void OnTakenOver(string token)
    {
        lock (_gate)
        {
            _transportToken = token;
            _takeover?.TrySetResult();
            if (_state == ReconnectState.TakingOver) SetStateLocked(ReconnectState.Connected);
            else if (_state == ReconnectState.TakingOverClaimed) SetStateLocked(ReconnectState.Claimed);
        }
    }

    /// <summary>Ends the wait for a claim. Call this method when the client can no longer reconnect.</summary>
    public void GiveUp()
    {
        lock (_gate)
        {
            if (_state == ReconnectState.Disconnected) EndWaitLocked(ReconnectState.Ended, isClaimed: false);
        }
    }

    /// <summary>Ends the session together with its connection.</summary>
    public void End()
    {
        lock (_gate)
        {
            RejectClaimLocked();
            _takeover?.TrySetResult();
            if (_state != ReconnectState.Ended) SetStateLocked(ReconnectState.Ended);
        }
    }

    async Task<bool> WaitForClaimAsync(string? http2ConnectionId)
    {
        TaskCompletionSource<bool> wait;
        lock (_gate)
        {
            if (_state == ReconnectState.Ended) return false;
            if (_state == ReconnectState.Claimed)
            {
                var claim = _claim!;
                _claim = null;
                BeginTakeoverLocked();
                return claim.TrySetResult(true);
            }

            wait = _wait = new(TaskCreationOptions.RunContinuationsAsynchronously);
            SetStateLocked(ReconnectState.Disconnected);
        }

        if (!disconnected.TryEnter(http2ConnectionId)) return !TryEndWait(wait) && await wait.Task;
        try
        {
            // The app may already have closed the connection, or too many messages may be unacknowledged.
            if (connection.Writer.ClosingStatus is not null) GiveUp();
            connection.Writer.Post();
            return await wait.Task.WaitAsync(timeout, time);
        }
        catch (TimeoutException)
        {
            return !TryEndWait(wait) && await wait.Task;
        }
        finally
        {
            disconnected.Leave(http2ConnectionId);
        }
    }

    bool TryEndWait(TaskCompletionSource<bool> wait)
    {
        lock (_gate)
        {
            if (_wait != wait) return false;
            EndWaitLocked(ReconnectState.Ended, isClaimed: false);
            return true;
        }
    }

    void EndWaitLocked(ReconnectState next, bool isClaimed)
    {
        var wait = _wait!;
        _wait = null;
        if (next == ReconnectState.TakingOver) BeginTakeoverLocked();
        else SetStateLocked(next);
        wait.SetResult(isClaimed);
    }

    void BeginTakeoverLocked()
    {
        _takeover = new(TaskCreationOptions.RunContinuationsAsynchronously);
        SetStateLocked(ReconnectState.TakingOver);
    }

    void RejectClaimLocked()
    {
        if (_claim is not { } claim) return;
        _claim = null;
        claim.TrySetResult(false);
        SetStateLocked(_state == ReconnectState.Claimed ? ReconnectState.Connected : ReconnectState.TakingOver);
    }

    void SetStateLocked(ReconnectState state)
    {
        Debug.Assert(_gate.IsHeldByCurrentThread);
        Debug.Assert(CanChange(_state, state), $"The session cannot change from {_state} to {state}.");
        _state = state;
    }

    static bool CanChange(ReconnectState from, ReconnectState to) => to switch
    {
        ReconnectState.Connected => from is ReconnectState.Claimed or ReconnectState.TakingOver,
        ReconnectState.Claimed => from is ReconnectState.Connected or ReconnectState.TakingOverClaimed,
        ReconnectState.Disconnected => from == ReconnectState.Connected,
        ReconnectState.TakingOver =>
            from is ReconnectState.Claimed or ReconnectState.Disconnected or ReconnectState.TakingOverClaimed,
        ReconnectState.TakingOverClaimed => from == ReconnectState.TakingOver,
        ReconnectState.Ended => from != ReconnectState.Ended,
        _ => false,
    };

    static string NewToken() => Base64Url.EncodeToString(RandomNumberGenerator.GetBytes(32));

    static bool IsSame(string token, string? expected) => expected is not null
        && CryptographicOperations.FixedTimeEquals(Encoding.UTF8.GetBytes(token), Encoding.UTF8.GetBytes(expected));
}
