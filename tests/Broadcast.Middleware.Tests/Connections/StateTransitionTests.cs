using System.Runtime.CompilerServices;

namespace Broadcast.Middleware.Tests.Connections;

/// <summary>
/// Tests the tables of legal state changes. In a debug build, an illegal change triggers a failed assertion.
/// </summary>
public sealed class StateTransitionTests
{
    [Fact]
    public void ConnectionState_AllChanges_OnlyLegalChangesAreAllowed() => AssertTable<ConnectionState>(CanChange,
    [
        (ConnectionState.Connecting, ConnectionState.Open),
        (ConnectionState.Connecting, ConnectionState.Left),
        (ConnectionState.Open, ConnectionState.Disconnected),
        (ConnectionState.Open, ConnectionState.Left),
        (ConnectionState.Disconnected, ConnectionState.Open),
        (ConnectionState.Disconnected, ConnectionState.Left),
        (ConnectionState.Left, ConnectionState.Ended),
    ]);

    [Fact]
    public void ReceiveState_AllChanges_OnlyLegalChangesAreAllowed() => AssertTable<ReceiveState>(CanChange,
    [
        (ReceiveState.Starting, ReceiveState.AwaitingFirstMessage),
        (ReceiveState.Starting, ReceiveState.Reading),
        (ReceiveState.Starting, ReceiveState.Stopped),
        (ReceiveState.AwaitingFirstMessage, ReceiveState.Handling),
        (ReceiveState.AwaitingFirstMessage, ReceiveState.Stopped),
        (ReceiveState.Handling, ReceiveState.Reading),
        (ReceiveState.Handling, ReceiveState.HandlingLast),
        (ReceiveState.Reading, ReceiveState.Handling),
        (ReceiveState.Reading, ReceiveState.Stopped),
        (ReceiveState.HandlingLast, ReceiveState.Stopped),
    ]);

    [Fact]
    public void ReconnectState_AllChanges_OnlyLegalChangesAreAllowed() => AssertTable<ReconnectState>(CanChange,
    [
        (ReconnectState.Connected, ReconnectState.Claimed),
        (ReconnectState.Connected, ReconnectState.Disconnected),
        (ReconnectState.Connected, ReconnectState.Ended),
        (ReconnectState.Claimed, ReconnectState.Connected),
        (ReconnectState.Claimed, ReconnectState.TakingOver),
        (ReconnectState.Claimed, ReconnectState.Ended),
        (ReconnectState.Disconnected, ReconnectState.TakingOver),
        (ReconnectState.Disconnected, ReconnectState.Ended),
        (ReconnectState.TakingOver, ReconnectState.Connected),
        (ReconnectState.TakingOver, ReconnectState.TakingOverClaimed),
        (ReconnectState.TakingOver, ReconnectState.Ended),
        (ReconnectState.TakingOverClaimed, ReconnectState.TakingOver),
        (ReconnectState.TakingOverClaimed, ReconnectState.Claimed),
        (ReconnectState.TakingOverClaimed, ReconnectState.Ended),
    ]);

    [Fact]
    public void WriterState_AllChanges_OnlyLegalChangesAreAllowed() => AssertTable<WriterState>(CanChange,
    [
        (WriterState.Created, WriterState.Open),
        (WriterState.Created, WriterState.Failed),
        (WriterState.Created, WriterState.Suspended),
        (WriterState.Created, WriterState.Detached),
        (WriterState.Open, WriterState.Closing),
        (WriterState.Open, WriterState.Closed),
        (WriterState.Open, WriterState.Failed),
        (WriterState.Open, WriterState.Suspended),
        (WriterState.Open, WriterState.Detached),
        (WriterState.Closing, WriterState.Closed),
        (WriterState.Closing, WriterState.Failed),
        (WriterState.Closing, WriterState.Suspended),
        (WriterState.Closing, WriterState.Detached),
        (WriterState.Closed, WriterState.Suspended),
        (WriterState.Closed, WriterState.Detached),
        (WriterState.Failed, WriterState.Suspended),
        (WriterState.Failed, WriterState.Detached),
        (WriterState.Suspended, WriterState.Open),
        (WriterState.Suspended, WriterState.Detached),
    ]);

    /// <summary>The drain may stop a gate at any time, so the other methods have no effect on a stopped gate.</summary>
    [Fact]
    public void ReceiveGate_StoppedByDrain_StaysStopped()
    {
        var gate = default(ReceiveGate);
        Assert.True(gate.TryStopHandling());
        gate.OnReceivesNothing();
        gate.OnReceiving();
        Assert.False(gate.TryStartMessage());
        Assert.Equal(ReceiveState.Stopped, gate.State);
    }

#if DEBUG
    [Fact]
    public void Connection_IllegalChange_FailsAssertion()
    {
        using var broadcast = new TestEngine();
        var connection = broadcast.Admit(broadcast.Pumps[0], "/g");
        AssertFails(connection.End, "The connection cannot change from Connecting to Ended.");
    }

    [Fact]
    public void ReceiveGate_IllegalChange_FailsAssertion()
    {
        var gate = default(ReceiveGate);
        AssertFails(() => gate.OnMessageHandled(), "The server has handled no message.");
        gate.OnReceivesNothing();
        AssertFails(() => gate.OnReceivesNothing(), "The server already reads from the client.");
    }

    [Fact]
    public void ConnectionWriter_IllegalChange_FailsAssertion()
    {
        using var broadcast = new TestEngine();
        var connection = broadcast.Connect(broadcast.Pumps[0], "/g", new ManualSink());
        broadcast.RunUntilIdle();
        AssertFails(() => SetState(connection.Writer, WriterState.Open), "The writer cannot change from Open to Open.");
    }

    [Fact]
    public void ReconnectSession_IllegalChange_FailsAssertion()
    {
        using var broadcast = new TestEngine();
        var session = broadcast.Admit(broadcast.Pumps[0], "/g", protocol: ReliableReceiver.Protocol).Session!;
        session.End();
        AssertFails(
            () =>
            {
                lock (GateOf(session)) SetStateLocked(session, ReconnectState.Connected);
            },
            "The session cannot change from Ended to Connected.");
    }

    /// <summary>Asserts that the action triggers a failed assertion with this message.</summary>
    static void AssertFails(Action act, string message)
    {
        var error = FailedAssertions.Record(act);
        Assert.NotNull(error);
        Assert.Contains(message, error.Message, StringComparison.Ordinal);
    }

    [UnsafeAccessor(UnsafeAccessorKind.Method)]
    static extern void SetState(ConnectionWriter writer, WriterState state);

    [UnsafeAccessor(UnsafeAccessorKind.Method)]
    static extern void SetStateLocked(ReconnectSession session, ReconnectState state);

    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "_gate")]
    static extern ref readonly Lock GateOf(ReconnectSession session);
#endif

    static void AssertTable<TState>(Func<TState, TState, bool> canChange, (TState From, TState To)[] legal)
        where TState : struct, Enum
    {
        var states = Enum.GetValues<TState>();
        var pairs = states.SelectMany(_ => states, static (from, to) => (from, to));
        Assert.Equal(legal.Order(), pairs.Where(pair => canChange(pair.from, pair.to)).Order());
    }

    static bool CanChange(ConnectionState from, ConnectionState to) => CanChange(null, from, to);

    static bool CanChange(ReceiveState from, ReceiveState to) => CanChange(default(ReceiveGate), from, to);

    static bool CanChange(ReconnectState from, ReconnectState to) => CanChange(null, from, to);

    static bool CanChange(WriterState from, WriterState to) => CanChange(null, from, to);

    [UnsafeAccessor(UnsafeAccessorKind.StaticMethod)]
    static extern bool CanChange(Connection? type, ConnectionState from, ConnectionState to);

    [UnsafeAccessor(UnsafeAccessorKind.StaticMethod)]
    static extern bool CanChange(ReceiveGate type, ReceiveState from, ReceiveState to);

    [UnsafeAccessor(UnsafeAccessorKind.StaticMethod)]
    static extern bool CanChange(ReconnectSession? type, ReconnectState from, ReconnectState to);

    [UnsafeAccessor(UnsafeAccessorKind.StaticMethod)]
    static extern bool CanChange(ConnectionWriter? type, WriterState from, WriterState to);
}
