using System.Collections.Concurrent;
using System.Diagnostics;

namespace WebDemo.Tests;

/// <summary>Reads the events of an npm client until the end of the stream.</summary>
sealed class StreamListener
{
    readonly ConcurrentDictionary<string, int> _lastNumbers = [];
    readonly HashSet<string> _connectionIds;

    public StreamListener(NpmClient client)
    {
        _connectionIds = [client.ConnectionId];
        Completed = ReadAsync(client);
    }

    public Task Completed { get; }

    /// <summary>The messages of each connection, in order. A recovered connection counts as the same connection.</summary>
    public List<List<string>> Segments { get; } = [[]];

    public int ConnectionCount => _connectionIds.Count;

    public int MessageCount => Segments.Sum(static segment => segment.Count);

    /// <summary>The longest time between the last event of a connection and the first event of the next connection.</summary>
    public TimeSpan LongestDisconnection { get; private set; }

    /// <summary>Returns the number of the last message from a publisher, or -1.</summary>
    public int GetLastNumber(string publisher) => _lastNumbers.GetValueOrDefault(publisher, -1);

    async Task ReadAsync(NpmClient client)
    {
        var lastEventAt = Stopwatch.GetTimestamp();
        var isConnected = true;
        while (true)
        {
            var (name, arguments) = await client.NextEventAsync();
            switch (name)
            {
                case "disconnected":
                    Segments.Add([]);
                    isConnected = false;
                    continue;
                case "connected":
                    // The client raises this event after it has joined its group again. Messages may come before this event.
                    var connectionId = arguments.GetProperty("connectionId").GetString()!;
                    Assert.True(_connectionIds.Add(connectionId), $"The client connected with the connection ID {connectionId} twice.");
                    OnReceived();
                    continue;
                case "rejoin-group-failed":
                    // The connection ended during the join. A disconnected event follows.
                    continue;
                case "group-message" or "server-message":
                    var text = arguments.GetProperty("message").GetProperty("data").GetString()!;
                    Segments[^1].Add(text);
                    OnReceived();
                    if (text == MessageStream.End) return;
                    if (MessageStream.TryParse(text, out var publisher, out var number)) _lastNumbers[publisher] = number;
                    continue;
                default:
                    Assert.Fail($"Unexpected event {name}: {arguments}");
                    return;
            }
        }

        void OnReceived()
        {
            var now = Stopwatch.GetTimestamp();
            if (!isConnected && Stopwatch.GetElapsedTime(lastEventAt, now) is var disconnection && disconnection > LongestDisconnection)
                LongestDisconnection = disconnection;
            lastEventAt = now;
            isConnected = true;
        }
    }
}
