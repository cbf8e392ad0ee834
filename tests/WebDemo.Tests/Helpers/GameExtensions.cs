using System.Diagnostics;
using System.Net.WebSockets;
using System.Runtime.InteropServices;
using System.Text.Json;

namespace WebDemo.Tests;

/// <summary>Receives the messages of the game at /game.</summary>
static class GameExtensions
{
    extension(ClientWebSocket player)
    {
        /// <summary>Returns the next names of the players, by their numbers.</summary>
        public async Task<Dictionary<ushort, string>> ReceiveNamesAsync()
        {
            while (true)
                if (await player.ReceiveMessageAsync() is { Type: WebSocketMessageType.Text, Bytes: [(byte)'{', ..] names })
                    return JsonSerializer.Deserialize<Dictionary<ushort, string>>(names)!;
        }

        /// <summary>Returns the position of each player in the next state.</summary>
        public async Task<Dictionary<ushort, (ushort X, ushort Y)>> ReceiveStateAsync()
        {
            while (true)
                if (await player.ReceiveMessageAsync() is { Type: WebSocketMessageType.Binary, Bytes: var state })
                    return MemoryMarshal.Cast<byte, ushort>(state).ToArray().Skip(2).Chunk(4).ToDictionary(static player => player[0], static player => (player[1], player[2]));
        }

        /// <summary>Returns the next state that satisfies a condition, and skips the states before it.</summary>
        public async Task<Dictionary<ushort, (ushort X, ushort Y)>> ReceiveStateUntilAsync(Func<Dictionary<ushort, (ushort X, ushort Y)>, bool> condition)
        {
            var watch = Stopwatch.StartNew();
            while (true)
            {
                var state = await player.ReceiveStateAsync();
                if (condition(state)) return state;
                Assert.True(watch.Elapsed < TestLimits.Wait, $"No state satisfies the condition. The last state is: {string.Join(", ", state)}");
            }
        }
    }
}
