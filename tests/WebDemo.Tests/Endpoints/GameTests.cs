using System.Globalization;
using System.Net.WebSockets;
using System.Runtime.InteropServices;
using System.Text.Json;

namespace WebDemo.Tests;

/// <summary>Tests the game at /game.</summary>
public sealed class GameTests(DemoServer server) : IClassFixture<DemoServer>
{
    [Fact]
    public async Task Input_LeftThenRight_MovesOnlyPlayerOfSender()
    {
        using var ann = await ConnectAsync("Ann");
        var annNumber = await ReceiveNumberAsync(ann);
        using var ben = await ConnectAsync("Ben");
        var benNumber = await ReceiveNumberAsync(ben);
        // The game may still contain the player of another test. A player receives its number before the game contains the player.
        var names = await ReceiveNamesAsync(ben);
        while (!names.ContainsKey(annNumber) || !names.ContainsKey(benNumber)) names = await ReceiveNamesAsync(ben);
        Assert.Equal(("Ann", "Ben"), (names[annNumber], names[benNumber]));
        var before = await ReceiveStateAsync(ben);

        // The player moves to the left border, and then to the right border. So the test does not depend on the first position.
        await ann.SendBinaryAsync(unchecked((byte)-100), 0);
        while ((await ReceiveStateAsync(ben))[annNumber].X > 0) Assert.Equal(WebSocketState.Open, ben.State);
        await ann.SendBinaryAsync(100, 0);
        var after = await ReceiveStateAsync(ben);
        while (after[annNumber].X < 1600) after = await ReceiveStateAsync(ben);

        Assert.Equal(before[annNumber].Y, after[annNumber].Y);
        Assert.Equal(before[benNumber], after[benNumber]);
        await ann.CloseNormallyAsync();
        while ((await ReceiveStateAsync(ben)).ContainsKey(annNumber)) Assert.Equal(WebSocketState.Open, ben.State);
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

    static async Task<Dictionary<ushort, string>> ReceiveNamesAsync(ClientWebSocket socket)
    {
        while (true)
            if (await socket.ReceiveMessageAsync() is { Type: WebSocketMessageType.Text, Bytes: var names })
                return JsonSerializer.Deserialize<Dictionary<ushort, string>>(names)!;
    }

    /// <summary>Returns the position of each player in the next state.</summary>
    static async Task<Dictionary<ushort, (ushort X, ushort Y)>> ReceiveStateAsync(ClientWebSocket socket)
    {
        while (true)
            if (await socket.ReceiveMessageAsync() is { Type: WebSocketMessageType.Binary, Bytes: var state })
                return MemoryMarshal.Cast<byte, ushort>(state).ToArray().Skip(2).Chunk(4).ToDictionary(static player => player[0], static player => (player[1], player[2]));
    }
}
