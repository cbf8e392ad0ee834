using System.Diagnostics.CodeAnalysis;
using StackExchange.Redis;

namespace Broadcast.Middleware;

/// <summary>
/// One group of this node. What comes from the channel waits in a bounded inbox; one worker at a time takes it from there, hands out what is the next,
/// passes over what was handed out already, and reads from the stream what is missing.
/// </summary>
[SuppressMessage("Design", "CA1001", Justification = "The source of its end has neither a timer nor a handle.")]
sealed class Subscription(string group, TimeSpan? keep, Subscriptions owner, RedisLink link, IBackplaneReceiver receiver, RedisMetrics metrics, RedisLog log)
    : IThreadPoolWorkItem
{
    /// <summary>More is dropped, and read from the stream when its turn comes: it bounds what a slow receiver costs.</summary>
    const int MaxInboxBytes = 4 * 1024 * 1024;
    const int BatchesAtOnce = 16;

    /// <summary>After so many checks in a row that found something missing, with nothing heard in between, nothing comes through the channel any more.</summary>
    const int DeafAfter = 3;
    // As in the scripts.
    static readonly TimeSpan StateOutlives = TimeSpan.FromMinutes(1);
    static readonly RedisValue[] StateFields = ["e", "o", "g"];
    static readonly TimeSpan Patience = TimeSpan.FromSeconds(5);

    readonly Queue<Batch> _inbox = new();
    readonly Lock _gate = new();
    readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    readonly CancellationTokenSource _ending = new();
    GroupKeys _keys = null!;

    // Guarded by the gate.
    ChannelMessageQueue? _channel;
    int _inboxBytes;
    (string Epoch, long Last) _heard = ("", 0);
    bool _attached;
    bool _working;
    bool _hasEnded;
    bool _refill;
    (string Epoch, long Last) _seen = ("", 0);
    int _unheard;

    // Written by the worker, the position with the gate held.
    string _epoch = "";
    ulong _epochNumber;
    long _offset;
    string _tag = Batch.None;

    /// <summary>Nothing will be handed out any more.</summary>
    public Task Ended => _ended.Task;

    public async Task<BackplaneSubscription> StartAsync(GroupOptions? history, long deadline, CancellationToken cancellationToken)
    {
        _keys = (await link.KeysAsync(deadline, cancellationToken)).Of(group);
        await ListenAsync(deadline, cancellationToken);
        // The server hears for us before it is asked where the group is: what is published later comes, or is noticed to be missing.
        var answer = await link.RunAsync(Scripts.Attach, [_keys.State, _keys.Stream, _keys.Index], [Epoch.New(), Outbox.Milliseconds(keep), History.BatchesAtFirst(history)], deadline, cancellationToken: cancellationToken);
        var (epoch, offset) = ((string)answer[0]!, (long)answer[1]);
        var kept = await History.ReadAsync(link, _keys, epoch, offset, answer[3], history, deadline, cancellationToken);
        lock (_gate)
        {
            (_epoch, _epochNumber, _offset, _tag) = (epoch, Epoch.Read(epoch), offset, (string)answer[2]!);
            _attached = true;
            Wake();
        }

        return new(new(_epochNumber, offset), kept);
    }

    /// <summary>Nothing more is handed out than what may be on its way already.</summary>
    public void End()
    {
        ChannelMessageQueue? channel;
        lock (_gate)
        {
            if (_hasEnded) return;
            _hasEnded = true;
            channel = _channel;
            _inbox.Clear();
            if (!_working) _ended.TrySetResult();
        }

        _ending.Cancel();
        // Nobody has to know when it is done: it goes before whatever is sent later.
        Ignore(() => channel?.Unsubscribe(CommandFlags.FireAndForget));
    }

    /// <summary>Asks Redis where the group is. What was there the last time and has not come since is missing.</summary>
    public async Task CheckAsync(TimeSpan timeout)
    {
        long offset;
        string tag;
        lock (_gate)
        {
            if (!_attached || _hasEnded) return;
            (offset, tag) = (_offset, _tag);
        }

        // No script: these are what Redis is asked most. A group with subscribers keeps its epoch, however quiet it is.
        var answer = await link.UntilAsync(
            multiplexer =>
            {
                var database = multiplexer.GetDatabase();
                if (keep is { } time) _ = database.KeyExpireAsync(_keys.State, time + StateOutlives, CommandFlags.FireAndForget);
                return database.HashGetAsync(_keys.State, StateFields);
            },
            link.DeadlineAfter(timeout), once: true);
        var (epoch, last) = ((string?)answer[0] ?? "", (long)answer[1]);
        bool deaf;
        lock (_gate)
        {
            var unheard = _seen.Epoch == _epoch && _seen.Last > _offset && !(_heard.Epoch == _epoch && _seen.Last <= _heard.Last);
            var missing = unheard || epoch != _epoch || last < offset || (last == offset && (string?)answer[2] != tag);
            _seen = (epoch, last);
            if (!missing || _hasEnded) return;
            _refill = true;
            deaf = unheard && ++_unheard >= DeafAfter;
            Wake();
        }

        if (deaf) await ListenAnewAsync(timeout);
    }

    void IThreadPoolWorkItem.Execute() => _ = WorkAsync();

    async Task ListenAsync(long deadline, CancellationToken cancellationToken)
    {
        var channel = RedisChannel.Literal(_keys.Channel);
        await link.UntilAsync(
            async multiplexer =>
            {
                var subscriber = multiplexer.GetSubscriber();
                // A queue that could not subscribe would stay with the library and fill; a handler can be taken back.
                Action<RedisChannel, RedisValue> probe = static (_, _) => { };
                try
                {
                    await subscriber.SubscribeAsync(channel, probe);
                    var queue = subscriber.Subscribe(channel, CommandFlags.FireAndForget);
                    // Of several attempts that were given up, more than one may come here in the end.
                    if (Keep(queue)) queue.OnMessage(Hear);
                    else queue.Unsubscribe(CommandFlags.FireAndForget);
                    return true;
                }
                finally
                {
                    Ignore(() => subscriber.Unsubscribe(channel, probe, CommandFlags.FireAndForget));
                }
            },
            deadline, cancellationToken: cancellationToken);

        bool Keep(ChannelMessageQueue queue)
        {
            lock (_gate)
            {
                if (_hasEnded || _channel is not null) return false;
                _channel = queue;
                return true;
            }
        }
    }

    /// <summary>Whatever has happened to the channel, on either side: it is given up, and there is another.</summary>
    async Task ListenAnewAsync(TimeSpan timeout)
    {
        log.Deaf();
        ChannelMessageQueue? channel;
        lock (_gate) (channel, _channel) = (_channel, null);
        Ignore(() => channel?.Unsubscribe(CommandFlags.FireAndForget));
        // If that fails, the next check finds it deaf still.
        await ListenAsync(link.DeadlineAfter(timeout), _ending.Token);
        lock (_gate) _unheard = 0;
    }

    void Hear(ChannelMessage message)
    {
        if (!Batch.TryRead((ReadOnlyMemory<byte>)message.Message, out var batch)) return;
        metrics.Received(batch.Count);
        lock (_gate)
        {
            if (_hasEnded) return;
            if (_inboxBytes + batch.Body.Length > MaxInboxBytes && _inbox.Count > 0)
            {
                _inbox.Clear();
                (_inboxBytes, _refill) = (0, true);
            }
            else
            {
                // A Redis that has come back older gives offsets anew; else a channel never goes back.
                if (batch.Epoch == _heard.Epoch && batch.Last <= _heard.Last) _refill = true;
                _inbox.Enqueue(batch);
                _inboxBytes += batch.Body.Length;
                _heard = (batch.Epoch, batch.Last);
                _unheard = 0;
            }

            Wake();
        }
    }

    void Wake()
    {
        if (!_attached || _working || _hasEnded) return;
        _working = true;
        ThreadPool.UnsafeQueueUserWorkItem(this, preferLocal: false);
    }

    async Task WorkAsync()
    {
        try
        {
            while (Take(out var batch, out var refill))
            {
                var goesOn = refill || !Fits(batch, out var isOld) ? await RefillAsync() : isOld || HandOut(batch);
                if (goesOn) continue;
                Lose();
                return;
            }
        }
        catch (OperationCanceledException) when (_ending.IsCancellationRequested)
        {
            _ended.TrySetResult();
        }
        catch (Exception exception)
        {
            log.ReceiverFailed(exception);
            Lose();
        }
    }

    bool Take(out Batch batch, out bool refill)
    {
        lock (_gate)
        {
            (refill, _refill) = (_refill, false);
            batch = default;
            if (!_hasEnded && (refill || _inbox.TryDequeue(out batch)))
            {
                _inboxBytes -= batch.Body.Length;
                return true;
            }

            _working = false;
            if (_hasEnded) _ended.TrySetResult();
            return false;
        }
    }

    /// <summary>The next one, or one that was handed out before. Anything else has to be looked into.</summary>
    bool Fits(in Batch batch, out bool isOld)
    {
        isOld = batch.Epoch == _epoch && batch.Last <= _offset;
        return isOld || (batch.Epoch == _epoch && batch.First == _offset + 1 && batch.Before == _tag);
    }

    bool HandOut(in Batch batch)
    {
        var body = batch.Body;
        for (var offset = batch.First; offset <= batch.Last; offset++)
        {
            if (_ending.IsCancellationRequested) return true;
            receiver.OnMessage(group, new(_epochNumber, offset), Batch.Next(ref body));
        }

        lock (_gate) (_offset, _tag) = (batch.Last, batch.Tag);

        return true;
    }

    /// <summary>Reads on from the last message that was handed out. Returns false if something is missing for good.</summary>
    async Task<bool> RefillAsync()
    {
        log.CatchingUp();
        metrics.Refilled();
        while (true)
        {
            var answer = await AskAsync();
            if (answer.IsNull) return false;
            var (head, before) = ((long)answer[0], _offset);
            foreach (var entry in (RedisResult[])answer[1]!)
            {
                var (batch, _) = StreamEntry.Read(entry);
                if (batch.Last == _offset) continue;
                if (batch.First != _offset + 1) return false;
                HandOut(batch);
                _ending.Token.ThrowIfCancellationRequested();
            }

            if (_offset >= head) return true;
            // Nothing that could be read leads there.
            if (_offset == before) return false;
        }
    }

    /// <summary>For as long as it takes: while Redis is away, nothing is lost.</summary>
    async Task<RedisResult> AskAsync()
    {
        while (true)
        {
            try
            {
                return await link.RunAsync(
                    Scripts.Forward, [_keys.State, _keys.Stream, _keys.Index], [_epoch, _offset, _tag, BatchesAtOnce, Epoch.New()],
                    link.DeadlineAfter(Patience), cancellationToken: _ending.Token);
            }
            catch (BackplaneException exception) when (!link.Ending.IsCancellationRequested)
            {
                _ending.Token.ThrowIfCancellationRequested();
                log.Retrying(exception.Message);
            }
        }
    }

    void Lose()
    {
        bool told;
        lock (_gate) told = !_hasEnded;
        owner.Remove(group, this);
        End();
        try
        {
            if (told)
            {
                metrics.Lost();
                log.Lost();
                receiver.OnLost(group);
            }
        }
        catch (Exception exception)
        {
            log.ReceiverFailed(exception);
        }
        finally
        {
            _ended.TrySetResult();
        }
    }

    static void Ignore(Action act)
    {
        try
        {
            act();
        }
        catch (Exception exception) when (exception is RedisException or TimeoutException or ObjectDisposedException)
        {
            // The connection is gone, and with it the subscription.
        }
    }
}
