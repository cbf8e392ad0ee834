namespace Broadcast.Middleware.Tests.Wire;

public sealed class VanishTests
{
    [Theory]
    [InlineData("reset")]
    [InlineData("finish")]
    public async Task Clients_that_vanish_in_the_middle_of_a_broadcast_disturb_nobody(string how)
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
            var vanishing = new List<RawClient>();
            for (var i = 0; i < 20; i++) vanishing.Add(await RawClient.OpenAsync(app));
            int heardByOne = 0, heardByTwo = 0;

            await Task.WhenAll(
                Numbered.PublishAllAsync(app, Messages, 500, () => Math.Min(Volatile.Read(ref heardByOne), Volatile.Read(ref heardByTwo))),
                Numbered.ReadAllAsync(one, Messages, count => Volatile.Write(ref heardByOne, count)),
                Numbered.ReadAllAsync(two, Messages, count => Volatile.Write(ref heardByTwo, count)),
                VanishAsync());

            await Eventually.True(() => app.Registry.Count == 2);
            one.Reset();
            two.Reset();
            await Eventually.True(() => app.Registry.Count == 0);
            await Eventually.True(() => app.Registry.CountInGroup("/ws") == 0);
            LogAssert.NoErrors(app);

            async Task VanishAsync()
            {
                for (var i = 0; i < vanishing.Count; i++)
                {
                    var due = Messages * (i + 1) / (vanishing.Count + 2);
                    await Eventually.True(() => Volatile.Read(ref heardByOne) >= due);
                    if (how == "reset") vanishing[i].Reset();
                    else vanishing[i].Finish();
                }
            }
        }
    }

    [Fact]
    public async Task A_client_that_vanishes_in_the_middle_of_its_own_message_is_removed()
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
    public async Task Clients_that_vanish_as_soon_as_they_have_asked_for_a_handshake_leave_nothing_behind()
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
    public async Task What_a_client_sent_before_it_vanished_is_relayed()
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var witness = await RawClient.OpenAsync(app);
        await using var client = await RawClient.OpenAsync(app);

        await client.SendAsync(ClientFrame.OfText("last words"));
        client.Finish();

        Assert.Equal("last words", (await witness.ReadFrameAsync()).Text);
        await Eventually.True(() => app.Registry.Count == 1);
    }
}
