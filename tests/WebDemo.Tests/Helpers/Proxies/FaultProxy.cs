using System.Net.Sockets;

namespace WebDemo.Tests;

/// <summary>
/// A proxy that breaks its connections by a plan. The first connection gets the first fault, the second connection gets
/// the second fault, and so on.
/// </summary>
/// <param name="server">The server.</param>
/// <param name="faults">The faults. Connections after the last fault stay intact.</param>
/// <param name="delay">
/// Returns a task that completes after the delay of <see cref="FaultKind.Silence"/> or
/// <see cref="FaultKind.ServerReset"/>.
/// </param>
sealed class FaultProxy(Uri server, IEnumerable<Fault> faults, Func<Task> delay) : TcpProxy(server)
{
    const int ChunkBytes = 4096;

    readonly Queue<Fault> _faults = new(faults);
    int _connectionCount;
    int _faultCount;

    /// <summary>The number of connections so far.</summary>
    public int ConnectionCount => Volatile.Read(ref _connectionCount);

    /// <summary>The number of faults so far.</summary>
    public int FaultCount => Volatile.Read(ref _faultCount);

    /// <summary>Drops all further data from the server on the open connections.</summary>
    public void DropResponses()
    {
        foreach (var connection in GetConnections().Cast<Connection>()) connection.DropsResponses = true;
    }

    protected override ProxyConnection CreateConnection(Socket client, Socket server)
    {
        Interlocked.Increment(ref _connectionCount);
        return new Connection(this, client, server, _faults.TryDequeue(out var fault) ? fault : null);
    }

    sealed class Connection(FaultProxy proxy, Socket client, Socket server, Fault? fault) : ProxyConnection(client, server, ChunkBytes)
    {
        int _bytesLeft = fault?.AfterBytes ?? int.MaxValue;
        volatile bool _isBroken;

        public bool DropsResponses { get; set; }

        protected override async Task ForwardAsync(ReadOnlyMemory<byte> bytes, Socket to, bool isRequest)
        {
            if (_isBroken || (DropsResponses && !isRequest)) return;
            if (fault is null || fault.IsInRequest != isRequest)
            {
                await SendAllAsync(bytes, to);
                return;
            }

            var count = Math.Min(bytes.Length, _bytesLeft);
            await SendAllAsync(bytes[..count], to);
            _bytesLeft -= count;
            if (count < bytes.Length) await BreakAsync(fault.Kind);
        }

        protected override void OnEnd(Socket to)
        {
            // The fault itself closes the sockets of a broken connection.
            if (!_isBroken) base.OnEnd(to);
        }

        protected override void OnError()
        {
            if (!_isBroken) base.OnError();
        }

        async Task BreakAsync(FaultKind kind)
        {
            _isBroken = true;
            Interlocked.Increment(ref proxy._faultCount);
            switch (kind)
            {
                case FaultKind.Reset:
                    Reset();
                    break;
                case FaultKind.End:
                    Client.Dispose();
                    Server.Dispose();
                    break;
                case FaultKind.Silence:
                    await proxy.DelayAsync();
                    Reset();
                    break;
                case FaultKind.ClientReset:
                    Reset(Client);
                    break;
                case FaultKind.ServerReset:
                    Reset(Server);
                    await proxy.DelayAsync();
                    Reset(Client);
                    break;
            }
        }
    }

    Task DelayAsync() => delay();
}
