using System.Net.WebSockets;

namespace Broadcast.Middleware.Redis.Tests.Apps;

/// <summary>A client that notes what it hears, and comes back with its position when it is told that something may be missing.</summary>
sealed class Subscriber : IAsyncDisposable
{
    // What a client sees: 1013, and which of both.
    const WebSocketCloseStatus TryAgainLater = (WebSocketCloseStatus)1013;
    const string Lost = "Messages may be missing: the cluster has lost them. Connect again.";
    const string Unreachable = "The other nodes cannot be reached at the moment: try again.";

    readonly AppNode _node;
    readonly CancellationTokenSource _ending = new();
    readonly List<Stretch> _stretches = [];
    readonly Task _running;

    public Subscriber(AppNode node, Position? after = null)
    {
        _node = node;
        _running = Task.Run(() => RunAsync(after));
    }

    /// <summary>What each of its connections that have joined has heard.</summary>
    public Stretch[] Stretches
    {
        get
        {
            lock (_stretches) return [.. _stretches];
        }
    }

    /// <summary>How often it was told that messages may be missing.</summary>
    public int Told { get; private set; }

    /// <summary>How often it was sent away, for the cluster could not be reached.</summary>
    public int Refused { get; private set; }

    public bool IsListening => Stretches is [.., { WasTold: false }];

    /// <summary>Whether it has everything up to there, and goes on. Throws what has gone wrong.</summary>
    public bool Has(MessageId message, Position position)
    {
        if (_running.IsFaulted) _running.GetAwaiter().GetResult();
        return Stretches is [.., { WasTold: false } last] && last.Has(message, position);
    }

    /// <summary>Whether it has heard it, even if it was told later that something may be missing.</summary>
    public bool HasHeard(MessageId message, Position position)
    {
        if (_running.IsFaulted) _running.GetAwaiter().GetResult();
        return Stretches.Any(stretch => stretch.Has(message, position));
    }

    public override string ToString() => $"told {Told} times, refused {Refused} times, has {(Stretches is [.., var last] ? $"{last.Start} to {last.End}" : "nothing")}";

    public async ValueTask DisposeAsync()
    {
        if (!_ending.IsCancellationRequested) await _ending.CancelAsync();
        await _running;
        _ending.Dispose();
    }

    async Task RunAsync(Position? after)
    {
        while (!_ending.IsCancellationRequested)
        {
            try
            {
                if (await ListenAsync(after) is { } stretch) after = stretch.End;
            }
            catch (Exception) when (_ending.IsCancellationRequested)
            {
                return;
            }
        }
    }

    /// <summary>One connection, until it is told why it ends.</summary>
    async Task<Stretch?> ListenAsync(Position? after)
    {
        using var socket = new ClientWebSocket();
        var key = $"{Guid.NewGuid():N}";
        await socket.ConnectAsync(_node.UriFor(key, after), _ending.Token);
        var joined = await _node.JoinedAsync(key).WaitAsync(_ending.Token);
        Stretch? stretch = null;
        if (joined.Joined)
        {
            stretch = new Stretch(joined);
            lock (_stretches) _stretches.Add(stretch);
        }

        var buffer = new byte[64];
        while (await socket.ReceiveAsync(buffer.AsMemory(), _ending.Token) is { MessageType: not WebSocketMessageType.Close } received)
        {
            Assert.True(received.EndOfMessage);
            Assert.NotNull(stretch);
            stretch.Add(MessageId.Parse(buffer.AsSpan(0, received.Count)));
        }

        Assert.Equal(TryAgainLater, socket.CloseStatus);
        if (socket.CloseStatusDescription == Unreachable)
        {
            Assert.Null(stretch);
            Refused++;
        }
        else
        {
            Assert.Equal(Lost, socket.CloseStatusDescription);
            Told++;
            stretch?.WasTold = true;
        }

        await socket.CloseOutputAsync(WebSocketCloseStatus.NormalClosure, null, _ending.Token);
        return stretch;
    }
}
