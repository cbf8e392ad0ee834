using System.Diagnostics;
using System.Diagnostics.CodeAnalysis;
using Broadcast.Middleware.Redis.Connections;
using Broadcast.Middleware.Redis.Diagnostics;
using Broadcast.Middleware.Redis.Storage;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Subscriptions;

/// <summary>
/// The subscription of this node to one group. The subscription delivers each message once and in order.
/// </summary>
/// <remarks>
/// <para>
/// The channel adds batches to the inbox, and a worker takes batches from the inbox. The worker delivers a batch that
/// follows the last delivered batch, and skips a batch that it has already delivered. If a batch neither follows nor
/// repeats a delivered batch, the worker reads the stream.
/// </para>
/// <para>Invariant: at most one worker per subscription runs, so calls of the receiver never overlap.</para>
/// </remarks>
[SuppressMessage("Design", "CA1001", Justification = "The token source has neither a timer nor a wait handle.")]
sealed class GroupSubscription : IThreadPoolWorkItem
{
    /// <summary>
    /// The number of consecutive checks after which the channel is stalled. Each of these checks finds messages that
    /// the channel did not deliver.
    /// </summary>
    const int MissedChecksUntilStalled = 3;

    /// <summary>
    /// The time after which a check renews the expiration of a group without messages. The expiration is at least 70
    /// seconds.
    /// </summary>
    static readonly TimeSpan RenewalInterval = TimeSpan.FromSeconds(10);

    static readonly RedisValue[] PositionFields = ["e", "o", "g"];

    readonly string _group;
    readonly RepairWindow _repairWindow;
    readonly TimeSpan? _retention; // Null means forever.
    readonly GroupOptions? _history;
    readonly RedisConnection _connection;
    readonly IBackplaneReceiver _receiver;
    readonly RedisMetrics _metrics;
    readonly RedisLogger _logger;
    readonly Action<GroupSubscription> _onLost;
    readonly ChannelListener _channel;
    readonly CatchUpReader _catchUpReader;
    readonly Inbox _inbox = new();
    readonly Lock _lock = new();
    readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    readonly CancellationTokenSource _stopping = new();
    GroupKeys _keys = null!;

    // The lock guards these fields.
    State _state = State.Starting;
    (string Epoch, long Offset) _lastChecked = ("", 0);

    // The batches of this node that Redis has acknowledged, but that the worker has not delivered yet. If Redis now
    // returns to an older state, only this node can detect that these messages are lost.
    readonly Queue<(string Epoch, long Last, string Tag)> _acknowledged = new();
    int _missedChecks;

    // Only CheckAsync uses this field, without the lock.
    long _nextRenewal;

    // StartAsync sets these fields. Afterwards, only the worker changes these fields. The worker holds the lock while
    // it writes the offset and the tag.
    string _epoch = "";
    ulong _epochNumber;
    long _offset;
    string _tag = Batch.NoTag;

    /// <param name="group">The group.</param>
    /// <param name="repairWindow">The messages that Redis keeps for other nodes.</param>
    /// <param name="history">The limits of the history.</param>
    /// <param name="connection">The connection to Redis.</param>
    /// <param name="receiver">Receives the messages.</param>
    /// <param name="metrics">The metrics.</param>
    /// <param name="logger">The logger.</param>
    /// <param name="onLost">Called before the subscription notifies the receiver of a loss.</param>
    public GroupSubscription(
        string group, RepairWindow repairWindow, GroupOptions? history, RedisConnection connection,
        IBackplaneReceiver receiver, RedisMetrics metrics, RedisLogger logger, Action<GroupSubscription> onLost)
    {
        _group = group;
        _repairWindow = repairWindow;
        _retention = repairWindow.GetStateRetention(history);
        _history = history;
        _connection = connection;
        _receiver = receiver;
        _metrics = metrics;
        _logger = logger;
        _onLost = onLost;
        _channel = new(connection, OnChannelMessage);
        _catchUpReader = new(connection, logger);
    }

    /// <summary>
    /// The state of the subscription. The transitions are: Starting to Idle, Idle to Delivering and back, Delivering to
    /// Ending to Ended, and Starting or Idle to Ended.
    /// </summary>
    enum State
    {
        /// <summary>The subscription does not know its start position yet. Batches wait in the inbox.</summary>
        Starting,

        /// <summary>No worker runs.</summary>
        Idle,

        /// <summary>The worker runs.</summary>
        Delivering,

        /// <summary>The subscription has ended, but the worker still runs.</summary>
        Ending,

        /// <summary>No call of the receiver will follow.</summary>
        Ended,
    }

    public string Group => _group;

    /// <summary>Completes when no further call of the receiver will follow.</summary>
    public Task Ended => _ended.Task;

    public async Task<BackplaneSubscription> StartAsync(long deadline, CancellationToken cancellationToken)
    {
        _keys = (await _connection.GetKeySpaceAsync(deadline, cancellationToken)).ForGroup(_group);
        // Open the channel before the script reads the position, so that the node receives every message after the
        // position.
        await _channel.OpenAsync(_keys.Channel, deadline, cancellationToken);
        var result = await _connection.RunScriptAsync(
            Scripts.Subscribe,
            RetainsMessages
                ? [_keys.State, _keys.Stream, _keys.Index, _keys.Retained]
                : [_keys.State, _keys.Stream, _keys.Index],
            [
                Epoch.Create(), Scripts.FormatMilliseconds(_retention), Scripts.FormatMilliseconds(_repairWindow.Age),
                .. HistoryReader.GetLimits(_history),
            ],
            deadline, cancellationToken: cancellationToken);
        var (epoch, offset, tag) = ((string)result[0]!, (long)result[1], (string)result[2]!);
        var messages = await new HistoryReader(_connection).ReadAsync(
            _keys, epoch, offset, result[3], _history, deadline, cancellationToken);
        lock (_lock)
        {
            (_epoch, _epochNumber, _offset, _tag) = (epoch, Epoch.Parse(epoch), offset, tag);
            ActivateLocked();
        }

        return new(new(_epochNumber, offset), messages) { Retained = RetainedParser.Parse(result[4]) };
    }

    /// <summary>Ends the subscription. A receiver call that is in progress may still complete.</summary>
    public void End()
    {
        lock (_lock)
        {
            if (!TryEndLocked()) return;
        }

        _stopping.Cancel();
        _channel.Close();
    }

    /// <summary>
    /// Records a batch of this node that Redis has acknowledged. The channel delivers the batch later.
    /// </summary>
    public void OnAcknowledged(string epoch, long last, string tag)
    {
        lock (_lock)
        {
            if (_state is State.Ending or State.Ended) return;
            if (epoch != _epoch || last > _offset) _acknowledged.Enqueue((epoch, last, tag));
        }
    }

    /// <summary>Compares the position of the group in Redis with the last delivered message.</summary>
    public async Task CheckAsync(TimeSpan timeout)
    {
        long offset, lastAcknowledged = 0;
        string tag;
        lock (_lock)
        {
            if (!IsActiveLocked) return;
            (offset, tag) = (_offset, _tag);
            // Redis must have all batches that Redis acknowledged before the query. The answer need not contain batches
            // that Redis acknowledges after this point.
            foreach (var acknowledged in _acknowledged)
            {
                if (acknowledged.Epoch == _epoch) lastAcknowledged = Math.Max(lastAcknowledged, acknowledged.Last);
            }
        }

        // This query is the most frequent query of a node. So use a plain command, which costs less than a script.
        var fields = await _connection.ExecuteAsync(
            multiplexer =>
            {
                var database = multiplexer.GetDatabase();
                RenewExpiration(database, offset);
                return database.HashGetAsync(_keys.State, PositionFields, CommandFlags.DemandMaster);
            },
            _connection.GetDeadline(timeout), retries: false);
        var (epoch, lastOffset) = ((string?)fields[0] ?? "", (long)fields[1]);
        bool isStalled;
        lock (_lock)
        {
            // True if the channel has not delivered a message that the previous check found.
            var isMissed = _lastChecked.Epoch == _epoch
                && _lastChecked.Offset > _offset
                && !_inbox.HasReceived(_epoch, _lastChecked.Offset);
            var isBehind = isMissed
                || epoch != _epoch
                || lastOffset < offset
                || lastAcknowledged > lastOffset
                || (lastOffset == offset && (string?)fields[2] != tag);
            _lastChecked = (epoch, lastOffset);
            if (!isBehind || !IsActiveLocked) return;
            _inbox.RequestCatchUp();
            isStalled = isMissed && ++_missedChecks >= MissedChecksUntilStalled;
            WakeLocked();
        }

        if (isStalled) await ReopenChannelAsync(timeout);
    }

    /// <summary>
    /// Renews the expiration of the state and of the retained values. So a group with subscribers keeps its epoch and
    /// its values, even without new messages.
    /// </summary>
    void RenewExpiration(IDatabase database, long offset)
    {
        if (offset > 0)
        {
            if (_retention is not { } retention) return;
            _ = database.KeyExpireAsync(
                _keys.State, retention + RepairWindow.ExtraStateRetention, CommandFlags.FireAndForget);
            if (RetainsMessages) _ = database.KeyExpireAsync(_keys.Retained, retention, CommandFlags.FireAndForget);
            return;
        }

        if (_connection.GetDeadline(TimeSpan.Zero) < _nextRenewal) return;
        _nextRenewal = _connection.GetDeadline(RenewalInterval);
        _ = database.ScriptEvaluateAsync(
            Scripts.RenewEmptyGroup, [_keys.State],
            [Scripts.FormatMilliseconds(_repairWindow.Age + RepairWindow.ExtraStateRetention)],
            CommandFlags.DemandMaster | CommandFlags.FireAndForget);
    }

    void IThreadPoolWorkItem.Execute() => _ = DeliverAllAsync();

    bool RetainsMessages => _history is { RetainLatestPerKey: true };

    bool IsActiveLocked => _state is State.Idle or State.Delivering;

    void ActivateLocked()
    {
        Debug.Assert(_lock.IsHeldByCurrentThread);
        if (_state == State.Ended) return;
        Debug.Assert(_state == State.Starting);
        _state = State.Idle;
        WakeLocked();
    }

    /// <summary>Starts the worker, unless the worker is already running.</summary>
    void WakeLocked()
    {
        Debug.Assert(_lock.IsHeldByCurrentThread);
        if (_state != State.Idle) return;
        _state = State.Delivering;
        ThreadPool.UnsafeQueueUserWorkItem(this, preferLocal: false);
    }

    bool TryEndLocked()
    {
        Debug.Assert(_lock.IsHeldByCurrentThread);
        if (_state is State.Ending or State.Ended) return false;
        _inbox.Clear();
        if (_state == State.Delivering) _state = State.Ending;
        else EndLocked();
        return true;
    }

    void EndLocked()
    {
        Debug.Assert(_lock.IsHeldByCurrentThread);
        _state = State.Ended;
        _ended.TrySetResult();
    }

    /// <summary>Subscribes to the channel again. If the subscription fails, the next check tries again.</summary>
    async Task ReopenChannelAsync(TimeSpan timeout)
    {
        _logger.ChannelStalled();
        await _channel.ReopenAsync(_keys.Channel, _connection.GetDeadline(timeout), _stopping.Token);
        lock (_lock) _missedChecks = 0;
    }

    void OnChannelMessage(ChannelMessage message)
    {
        if (!Batch.TryParse((ReadOnlyMemory<byte>)message.Message, out var batch)) return;
        lock (_lock)
        {
            if (_state is State.Ending or State.Ended) return;
            if (_inbox.Add(batch)) _missedChecks = 0;
            WakeLocked();
        }

        // The metric counts the messages in the body, and throws for a malformed body. So the inbox gets the batch
        // first.
        _metrics.Received(batch);
    }

    /// <summary>
    /// Runs the worker. The worker delivers batches until the inbox is empty or the subscription has ended.
    /// </summary>
    async Task DeliverAllAsync()
    {
        try
        {
            while (TryTakeWork(out var batch, out var catchesUp))
            {
                if (catchesUp || !TryDeliver(batch))
                {
                    if (!await CatchUpAsync())
                    {
                        ReportLoss();
                        return;
                    }

                    // The stream contains no transient messages, so deliver the batch now. If the stream had newer
                    // messages, TryDeliver skips the batch, because the messages of the batch would be out of order.
                    if (!catchesUp && batch.Count == 0) TryDeliver(batch);
                }
            }
        }
        catch (OperationCanceledException) when (_stopping.IsCancellationRequested)
        {
            lock (_lock) EndLocked();
        }
        catch (Exception exception)
        {
            _logger.ReceiverFailed(exception);
            ReportLoss();
        }
    }

    /// <summary>
    /// Takes the next batch or the request to read the stream. Returns false if the worker must stop.
    /// </summary>
    bool TryTakeWork(out Batch batch, out bool catchesUp)
    {
        lock (_lock)
        {
            Debug.Assert(_state is State.Delivering or State.Ending);
            (batch, catchesUp) = (default, false);
            if (_state == State.Ending)
            {
                EndLocked();
                return false;
            }

            if (_inbox.TryTake(out batch, out catchesUp)) return true;
            _state = State.Idle;
            return false;
        }
    }

    /// <summary>
    /// Delivers or skips a batch. Returns false if the batch does not follow the last delivered batch.
    /// </summary>
    bool TryDeliver(in Batch batch)
    {
        if (batch.Epoch != _epoch) return false;
        // Skip a late batch. The worker has already read the numbered messages of this batch from the stream.
        if (batch.Last < _offset || (batch.Last == _offset && batch.Count > 0)) return true;
        if (batch.First != _offset + 1 || batch.PreviousTag != _tag || ReplacesAcknowledged(batch)) return false;
        Deliver(batch);
        return true;
    }

    /// <summary>
    /// Returns true if Redis has given an offset of an acknowledged batch to another batch. This method also removes
    /// the acknowledged batches up to the given batch from the queue.
    /// </summary>
    bool ReplacesAcknowledged(in Batch batch)
    {
        lock (_lock)
        {
            while (_acknowledged.TryPeek(out var acknowledged))
            {
                var isSameEpoch = acknowledged.Epoch == batch.Epoch;
                if (isSameEpoch && acknowledged.Last > batch.Last) return false;
                var isReplaced = acknowledged.Last >= batch.First
                    && (acknowledged.Last != batch.Last || acknowledged.Tag != batch.Tag);
                if (isSameEpoch && isReplaced) return true;
                _acknowledged.Dequeue();
            }

            return false;
        }
    }

    /// <summary>
    /// Returns true if the stream contains the next acknowledged batch, or if no acknowledged batch is left. If the
    /// stream does not contain the batch, <see cref="Scripts.ReadForward"/> starts a new epoch.
    /// </summary>
    async Task<bool> HasAcknowledgedAsync()
    {
        (string Epoch, long Last, string Tag) next;
        lock (_lock)
        {
            // An acknowledgement can arrive after the delivery of its batch, or before the start of the subscription.
            while (_acknowledged.TryPeek(out next) && (next.Epoch != _epoch || next.Last <= _offset))
                _acknowledged.Dequeue();
            if (_acknowledged.Count == 0) return true;
        }

        return await _catchUpReader.ReadAsync(_keys, _epoch, next.Last, next.Tag, _stopping.Token) is not null;
    }

    void Deliver(in Batch batch)
    {
        var (body, last) = (batch.Body, batch.First - 1);
        while (!body.IsEmpty)
        {
            if (_stopping.IsCancellationRequested) return;
            var message = Batch.TakeMessage(ref body, out var isTransient);
            if (isTransient) _receiver.OnTransientMessage(_group, new(_epochNumber, last), message);
            else _receiver.OnMessage(_group, new(_epochNumber, ++last), message);
        }

        // A batch with only transient messages changes neither the offset nor the tag of the group.
        if (batch.Count == 0) return;
        lock (_lock) (_offset, _tag) = (batch.Last, batch.Tag);
    }

    /// <summary>
    /// Reads the messages after the last delivered message from the stream, and delivers these messages. Returns false
    /// if messages are lost.
    /// </summary>
    async Task<bool> CatchUpAsync()
    {
        _logger.CatchingUp();
        _metrics.Refilled();
        while (true)
        {
            if (!await HasAcknowledgedAsync()) return false;
            if (await _catchUpReader.ReadAsync(_keys, _epoch, _offset, _tag, _stopping.Token) is not { } page)
                return false;
            var before = _offset;
            foreach (var batch in page.Batches)
            {
                if (batch.Last == _offset) continue;
                if (batch.First != _offset + 1) return false;
                if (ReplacesAcknowledged(batch)) break;
                Deliver(batch);
                _stopping.Token.ThrowIfCancellationRequested();
            }

            if (_offset >= page.LastOffset) return true;
            // The page does not contain all batches up to the last offset. If the stream has another batch instead of
            // an acknowledged batch, HasAcknowledgedAsync starts a new epoch.
            if (_offset == before && await HasAcknowledgedAsync()) return false;
        }
    }

    /// <summary>Ends the subscription and notifies the receiver, unless the subscription has already ended.</summary>
    void ReportLoss()
    {
        bool notifies;
        lock (_lock) notifies = IsActiveLocked;
        _onLost(this);
        End();
        try
        {
            if (notifies)
            {
                _metrics.Lost();
                _logger.MessagesLost();
                _receiver.OnLost(_group);
            }
        }
        catch (Exception exception)
        {
            _logger.ReceiverFailed(exception);
        }
        finally
        {
            lock (_lock) EndLocked();
        }
    }
}
