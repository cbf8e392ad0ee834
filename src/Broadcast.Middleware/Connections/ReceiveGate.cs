using System.Diagnostics;

namespace Broadcast.Middleware.Connections;

/// <summary>
/// Decides whether the server may handle a message of a client. The request that serves the connection and the drain
/// may call the methods at the same time.
/// </summary>
/// <remarks>
/// The gate is a struct, because another object would need more memory for each connection. Do not copy a gate.
/// </remarks>
struct ReceiveGate
{
    volatile ReceiveState _state;

    public readonly ReceiveState State => _state;

    /// <summary>True while the server may read nothing from the client.</summary>
    public readonly bool IsBusy =>
        _state is ReceiveState.Starting or ReceiveState.Handling or ReceiveState.HandlingLast;

    /// <summary>Records that the server starts to read from the client.</summary>
    public void OnReceiving()
    {
        var state = _state;
        // A connect filter may already have received the first message.
        if (state is ReceiveState.Handling or ReceiveState.HandlingLast) OnMessageHandled();
        // In the other states, the server has already read from the client, or the app shuts down.
        else if (state == ReceiveState.Starting) StartReading(ReceiveState.AwaitingFirstMessage);
    }

    /// <summary>Records that the client uses an event stream and therefore sends no messages.</summary>
    public void OnReceivesNothing() => StartReading(ReceiveState.Reading);

    /// <summary>Begins to handle a message. If the result is false, the server must drop the message.</summary>
    public bool TryStartMessage()
    {
        var state = _state;
        Debug.Assert(state is ReceiveState.AwaitingFirstMessage or ReceiveState.Reading or ReceiveState.Stopped);
        return state != ReceiveState.Stopped && TryChange(state, ReceiveState.Handling);
    }

    public void OnMessageHandled()
    {
        if (TryChange(ReceiveState.Handling, ReceiveState.Reading)) return;
        var isLast = TryChange(ReceiveState.HandlingLast, ReceiveState.Stopped);
        Debug.Assert(isLast, "The server has handled no message.");
    }

    /// <summary>
    /// Prevents the server from handling another message, because the app shuts down. Returns false while the server
    /// still handles a message, because the client may expect an answer.
    /// </summary>
    public bool TryStopHandling()
    {
        while (true)
        {
            var state = _state;
            if (state is ReceiveState.HandlingLast or ReceiveState.Stopped) return state == ReceiveState.Stopped;
            var next = state == ReceiveState.Handling ? ReceiveState.HandlingLast : ReceiveState.Stopped;
            if (TryChange(state, next)) return next == ReceiveState.Stopped;
        }
    }

    /// <summary>Leaves the first state, unless the drain has already stopped the gate.</summary>
    void StartReading(ReceiveState next)
    {
        var isChanged = TryChange(ReceiveState.Starting, next);
        Debug.Assert(isChanged || _state == ReceiveState.Stopped, "The server already reads from the client.");
    }

    /// <summary>
    /// Changes the state if the state is still <paramref name="from"/>. If two threads try to change the state at the
    /// same time, exactly one of the two changes succeeds.
    /// </summary>
    bool TryChange(ReceiveState from, ReceiveState to)
    {
        Debug.Assert(CanChange(from, to), $"The receive state cannot change from {from} to {to}.");
        return Interlocked.CompareExchange(ref _state, to, from) == from;
    }

    static bool CanChange(ReceiveState from, ReceiveState to) => to switch
    {
        ReceiveState.AwaitingFirstMessage => from == ReceiveState.Starting,
        ReceiveState.Handling => from is ReceiveState.AwaitingFirstMessage or ReceiveState.Reading,
        ReceiveState.Reading => from is ReceiveState.Starting or ReceiveState.Handling,
        ReceiveState.HandlingLast => from == ReceiveState.Handling,
        ReceiveState.Stopped => from is not (ReceiveState.Handling or ReceiveState.Stopped),
        _ => false,
    };
}
