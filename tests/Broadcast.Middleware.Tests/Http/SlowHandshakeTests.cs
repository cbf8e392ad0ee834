using System.Diagnostics;
using System.Net;
using System.Net.Sockets;

namespace Broadcast.Middleware.Tests.Http;

[Collection(nameof(NotParallelCollection))]
public sealed class SlowHandshakeTests
{
    [Fact]
    public async Task IncompleteHandshakes_Thousand_DelayNoOtherHandshake()
    {
        var token = TestContext.Current.CancellationToken;
        await using var app = await BroadcastApp.StartAsync(options: options => options.MaxConnections = 20);
        var slow = new List<Socket>();
        try
        {
            for (var i = 0; i < 1_000; i++)
            {
                var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
                slow.Add(socket);
                await socket.ConnectAsync(IPAddress.Loopback, app.Port, token);
                await socket.SendAsync("GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upg"u8.ToArray(), token);
            }

            // Incomplete handshakes do not count toward MaxConnections.
            for (var i = 0; i < 20; i++)
            {
                var started = Stopwatch.GetTimestamp();
                var client = await RawClient.OpenAsync(app);
                Assert.InRange(Stopwatch.GetElapsedTime(started), TimeSpan.Zero, TimeSpan.FromSeconds(25));
                await client.LeaveAsync();
            }

            await Eventually.True(() => app.Registry.Count == 0);
        }
        finally
        {
            foreach (var socket in slow) socket.Dispose();
        }
    }
}
