namespace Broadcast.Middleware.Tests.Http;

public sealed class DisconnectTests
{
    [Theory]
    [InlineData("reset")]
    [InlineData("finish")]
    public async Task Disconnect_WhileAppPublishes_DoesNotAffectOtherConnections(string disconnect)
    {
        const int Messages = 3_000;
        using var unobserved = new UnobservedExceptions();
        await RunAsync();
        unobserved.AssertNoneOfOurs();

        async Task RunAsync()
        {
            await using var app = await BroadcastApp.StartAsync();
            await using var one = await RawClient.OpenAsync(app);
            await using var two = await RawClient.OpenAsync(app);
            var leaving = new List<RawClient>();
            for (var i = 0; i < 20; i++) leaving.Add(await RawClient.OpenAsync(app));
            int receivedByOne = 0, receivedByTwo = 0;

            await Task.WhenAll(
                Numbered.PublishAllAsync(app, Messages, 500, () => Math.Min(Volatile.Read(ref receivedByOne), Volatile.Read(ref receivedByTwo))),
                Numbered.ReadAllAsync(one, Messages, count => Volatile.Write(ref receivedByOne, count)),
                Numbered.ReadAllAsync(two, Messages, count => Volatile.Write(ref receivedByTwo, count)),
                DisconnectAsync());

            await Eventually.True(() => app.Registry.Count == 2);
            one.Reset();
            two.Reset();
            await Eventually.True(() => app.Registry.Count == 0);
            await Eventually.True(() => app.Registry.CountGroupMembers("/ws") == 0);
            LogAssert.NoErrors(app);

            async Task DisconnectAsync()
            {
                for (var i = 0; i < leaving.Count; i++)
                {
                    var due = Messages * (i + 1) / (leaving.Count + 2);
                    await Eventually.True(() => Volatile.Read(ref receivedByOne) >= due);
                    if (disconnect == "reset") leaving[i].Reset();
                    else leaving[i].Finish();
                }
            }
        }
    }

    [Fact]
    public async Task Disconnect_InMiddleOfFrame_RemovesConnection()
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var witness = await RawClient.OpenAsync(app);
        await using var client = await RawClient.OpenAsync(app);

        await client.SendAsync(ClientFrame.Make(ClientFrame.Text, "half"u8, declared: 1000));
        client.Finish();

        await Eventually.True(() => app.Registry.Count == 1);
        await app.Broadcaster.PublishAsync("whole", cancellationToken: TestContext.Current.CancellationToken);
        Assert.Equal("whole", (await witness.ReadFrameAsync()).Text);
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task Disconnect_RightAfterHandshakeRequest_LeavesNoConnection()
    {
        await using var app = await BroadcastApp.StartAsync();
        var handshake = System.Text.Encoding.ASCII.GetBytes(
            $"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
            $"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {RawClient.Key}\r\n\r\n");

        for (var i = 0; i < 200; i++)
        {
            await using var client = await RawClient.ConnectAsync(app);
            await client.SendAsync(handshake);
            client.Reset();
        }

        await using var last = await RawClient.OpenAsync(app);
        await Eventually.True(() => app.Registry.Count == 1);
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task Message_SentRightBeforeDisconnect_IsRelayed()
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var witness = await RawClient.OpenAsync(app);
        await using var client = await RawClient.OpenAsync(app);

        await client.SendAsync(ClientFrame.CreateText("last words"));
        client.Finish();

        Assert.Equal("last words", (await witness.ReadFrameAsync()).Text);
        await Eventually.True(() => app.Registry.Count == 1);
    }
}
