using System.Diagnostics;
using System.Globalization;
using System.Net.WebSockets;

namespace WebDemo.Tests;

/// <summary>Tests the game at /game.</summary>
[Collection<WsCollection>]
public sealed class GameTests(DemoServer server)
{
    [Fact]
    public async Task Input_LeftThenRight_MovesOnlyPlayerOfSender()
    {
        using var ann = await ConnectAsync("Ann");
        var annNumber = await ReceiveNumberAsync(ann);
        using var ben = await ConnectAsync("Ben");
        var benNumber = await ReceiveNumberAsync(ben);
        // The game may still contain the player of another test. A player receives its number before the game contains the player.
        var names = await ben.ReceiveNamesAsync();
        while (!names.ContainsKey(annNumber) || !names.ContainsKey(benNumber)) names = await ben.ReceiveNamesAsync();
        Assert.Equal(("Ann", "Ben"), (names[annNumber], names[benNumber]));
        var before = await ben.ReceiveStateAsync();

        // The player moves to the left border, and then to the right border. So the test does not depend on the first position.
        await ann.SendBinaryAsync(unchecked((byte)-100), 0);
        await ben.ReceiveStateUntilAsync(state => state[annNumber].X == 0);
        await ann.SendBinaryAsync(100, 0);
        var after = await ben.ReceiveStateUntilAsync(state => state[annNumber].X == 1600);

        Assert.Equal(before[annNumber].Y, after[annNumber].Y);
        Assert.Equal(before[benNumber], after[benNumber]);
        await ann.CloseNormallyAsync();
        await ben.ReceiveStateUntilAsync(state => !state.ContainsKey(annNumber));
    }

    [Fact]
    public async Task States_WhilePlaying_ArriveAbout30TimesPerSecond()
    {
        const int States = 30;
        var (total, second) = (Stopwatch.StartNew(), new Stopwatch());
        using var ann = await ConnectAsync("Ann");
        // A busy computer delays states. So the lower limit applies to the first 30 states in a row that arrive without a delay.
        for (var received = States; ; received += States)
        {
            second.Restart();
            for (var i = 0; i < States; i++) await ann.ReceiveStateAsync();
            // The upper limit always applies. The timer of the server can tick early by one interval after a delay, and also at the start.
            Assert.InRange(received, 0, (31 * total.Elapsed.TotalSeconds) + 3);
            if (second.Elapsed.TotalSeconds < 1.2) return;
            Assert.True(total.Elapsed < TestLimits.Wait, $"{received} states have arrived in {total.Elapsed.TotalSeconds:F1} s.");
        }
    }

    [Fact]
    public async Task Input_TooLong_ClosesSenderWithMessageTooBig()
    {
        using var ann = await ConnectAsync("Ann");
        await ann.SendBinaryAsync(1, 2, 3);
        while ((await ann.ReceiveMessageAsync()).Type != WebSocketMessageType.Close)
        {
            // Skip the states before the close frame.
        }

        Assert.Equal(WebSocketCloseStatus.MessageTooBig, ann.CloseStatus);
    }

    async Task<ClientWebSocket> ConnectAsync(string name)
    {
        var socket = new ClientWebSocket();
        await socket.ConnectAsync(new UriBuilder(server.GetWebSocketUrl("/game")) { Query = $"name={name}" }.Uri, TestContext.Current.CancellationToken);
        return socket;
    }

    /// <summary>Returns the number of the player. States and names of the game can arrive before the number.</summary>
    static async Task<ushort> ReceiveNumberAsync(ClientWebSocket socket)
    {
        while (true)
        {
            if (await socket.ReceiveMessageAsync() is { Type: WebSocketMessageType.Text, Bytes: var text }
                && ushort.TryParse(text, CultureInfo.InvariantCulture, out var number)) return number;
        }
    }
}
