using System.Security.Claims;
using Broadcast.Middleware.Tests.Clustering;

namespace Broadcast.Middleware.Tests.Connections;

/// <summary>Tests a change of the user of a connection that ends.</summary>
public sealed class TrySetUserTests : IDisposable
{
    readonly ManualBackplane _backplane = new();
    readonly FaultyRegistry _registry = new();
    readonly TestEngine _broadcast;

    public TrySetUserTests() => _broadcast = new(
        registry: _registry, configure: static options => options.MaxConnectionsPerUser = 1, backplane: _backplane);

    public void Dispose() => _broadcast.Dispose();

    [Fact]
    public async Task TrySetUser_AfterEnd_ReturnsFalseAndRegistersNothing()
    {
        await _broadcast.Cluster!.InboxOpening;
        var connection = _broadcast.Admit(_broadcast.Pumps[0], "/home");
        _broadcast.Remove(connection);

        Assert.False(TrySetUser(connection));

        AssertNothingIsLeft(connection);
    }

    [Fact]
    public async Task TrySetUser_ConnectionEndsDuringCall_LeavesNoRegistration()
    {
        await _broadcast.Cluster!.InboxOpening;
        var connection = _broadcast.Admit(_broadcast.Pumps[0], "/home");
        var removing = new Thread(() => _broadcast.Remove(connection)) { IsBackground = true };
        _registry.OnAdd = _ =>
        {
            removing.Start();
            // A correct removal waits until the user has changed. An incorrect removal completes without waiting.
            Assert.True(SpinWait.SpinUntil(
                () => (removing.ThreadState & (ThreadState.WaitSleepJoin | ThreadState.Stopped)) != 0, Eventually.Patience));
            return true;
        };

        TrySetUser(connection);
        Assert.True(removing.Join(Eventually.Patience));

        _registry.OnAdd = static _ => true;
        AssertNothingIsLeft(connection);
    }

    bool TrySetUser(Connection connection) => _broadcast.Manager.TrySetUser(
        connection, new ClaimsPrincipal(new ClaimsIdentity("test")), "ann", DateTimeOffset.MaxValue);

    void AssertNothingIsLeft(Connection connection)
    {
        Assert.Null(_broadcast.Manager.Find(connection.Id));
        Assert.Equal(0, _broadcast.Connections.Count);
        Assert.Empty(_backplane.Members);
        // MaxConnectionsPerUser is 1. So the admission succeeds only if the removed connection no longer counts.
        Assert.NotNull(_broadcast.Admit(new FakeRequest { UserId = "ann" }, "/home"));
    }
}
