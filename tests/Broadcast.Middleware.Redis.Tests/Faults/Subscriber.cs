using System.Net;
using System.Net.WebSockets;

namespace Broadcast.Middleware.Redis.Tests.Faults;

/// <summary>
/// A client that records its messages. When the client is notified that messages may be missing, it connects again with
/// its position.
/// </summary>
sealed class Subscriber : IAsyncDisposable
{
    // The server uses close code 1013 for both reasons, so the client compares the reason text.
    const WebSocketCloseStatus TryAgainLater = (WebSocketCloseStatus)1013;
    const string LossReason = "The cluster lost messages. Connect again.";
    const string UnreachableReason = "The other nodes are unreachable. Try again later.";

    static readonly TimeSpan RetryDelay = TimeSpan.FromMilliseconds(50);

    readonly AppNode _node;
    readonly CancellationTokenSource _stopping = new();
    readonly List<ReceivedSequence> _sequences = [];
    readonly Task _running;

    public Subscriber(AppNode node, Position? after = null)
    {
        _node = node;
        _running = Task.Run(() => RunAsync(after));
    }

    /// <summary>One sequence for each connection that has joined the group.</summary>
    public ReceivedSequence[] Sequences
    {
        get
        {
            lock (_sequences) return [.. _sequences];
        }
    }

    /// <summary>The number of notices that messages may be missing.</summary>
    public int LossCount { get; private set; }

    /// <summary>The number of connections that the server rejected because Redis was unreachable.</summary>
    public int RejectedCount { get; private set; }

    public bool IsListening => Sequences is [.., { IsNotifiedOfLoss: false }];

    /// <summary>
    /// Returns true if the current connection has received the message. Throws if the subscriber has failed.
    /// </summary>
    public bool HasReceivedOnCurrentConnection(MessageId message, Position position)
    {
        ThrowIfFailed();
        return Sequences is [.., { IsNotifiedOfLoss: false } current] && current.Contains(message, position);
    }

    /// <summary>Returns true if any connection has received the message. Throws if the subscriber has failed.</summary>
    public bool HasReceived(MessageId message, Position position)
    {
        ThrowIfFailed();
        return Sequences.Any(sequence => sequence.Contains(message, position));
    }

    public override string ToString() =>
        $"{LossCount} losses, {RejectedCount} rejected, " +
        (Sequences is [.., var last] ? $"received {last.Start} to {last.End}" : "received nothing");

    public async ValueTask DisposeAsync()
    {
        if (!_stopping.IsCancellationRequested) await _stopping.CancelAsync();
        await _running;
        _stopping.Dispose();
    }

    void ThrowIfFailed()
    {
        if (_running.IsFaulted) _running.GetAwaiter().GetResult();
    }

    async Task RunAsync(Position? after)
    {
        while (!_stopping.IsCancellationRequested)
        {
            try
            {
                if (await ListenAsync(after) is { } sequence) after = sequence.End;
            }
            catch (Exception) when (_stopping.IsCancellationRequested)
            {
                return;
            }
        }
    }

    /// <summary>Uses one connection until the server closes it.</summary>
    async Task<ReceivedSequence?> ListenAsync(Position? after)
    {
        using var socket = new ClientWebSocket();
        var key = $"{Guid.NewGuid():N}";
        socket.Options.CollectHttpResponseDetails = true;
        try
        {
            await socket.ConnectAsync(_node.CreateUri(key, after), _stopping.Token);
        }
        catch (WebSocketException) when (socket.HttpStatusCode == HttpStatusCode.ServiceUnavailable)
        {
            // The node cannot reach Redis, so it refuses new connections.
            RejectedCount++;
            await Task.Delay(RetryDelay, _stopping.Token);
            return null;
        }

        var joined = await _node.GetJoinResultAsync(key).WaitAsync(_stopping.Token);
        ReceivedSequence? sequence = null;
        if (joined.Joined)
        {
            sequence = new(joined);
            lock (_sequences) _sequences.Add(sequence);
        }

        var buffer = new byte[64];
        while (true)
        {
            var received = await socket.ReceiveAsync(buffer.AsMemory(), _stopping.Token);
            if (received.MessageType == WebSocketMessageType.Close) break;
            Assert.True(received.EndOfMessage);
            Assert.NotNull(sequence);
            sequence.Add(MessageId.Parse(buffer.AsSpan(0, received.Count)));
        }

        Assert.Equal(TryAgainLater, socket.CloseStatus);
        if (socket.CloseStatusDescription == UnreachableReason)
        {
            Assert.Null(sequence);
            RejectedCount++;
        }
        else
        {
            Assert.Equal(LossReason, socket.CloseStatusDescription);
            LossCount++;
            sequence?.IsNotifiedOfLoss = true;
        }

        try
        {
            await socket.CloseOutputAsync(WebSocketCloseStatus.NormalClosure, null, _stopping.Token);
        }
        catch (WebSocketException)
        {
            // The server waits for the client's close frame only until the close timeout. On a busy machine, this
            // client can be late.
        }

        return sequence;
    }
}
