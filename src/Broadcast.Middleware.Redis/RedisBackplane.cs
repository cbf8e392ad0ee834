using System.Diagnostics.Metrics;
using System.Security.Cryptography;
using Broadcast.Middleware.Redis.Checks;
using Broadcast.Middleware.Redis.Connections;
using Broadcast.Middleware.Redis.Diagnostics;
using Broadcast.Middleware.Redis.Members;
using Broadcast.Middleware.Redis.Publishing;
using Broadcast.Middleware.Redis.Storage;
using Broadcast.Middleware.Redis.Subscriptions;
using Microsoft.Extensions.Logging;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis;

/// <summary>The Redis backplane of one node. docs/operations/redis.md explains the design.</summary>
sealed class RedisBackplane : IBackplane, IAsyncDisposable, IDisposable
{
    static readonly TimeSpan LeaveTimeout = TimeSpan.FromSeconds(1);
    static readonly TimeSpan DisposeTimeout = TimeSpan.FromSeconds(3);
    static readonly TimeSpan CheckTimeout = TimeSpan.FromSeconds(10);
    static readonly TimeSpan CheckRetryDelay = TimeSpan.FromMilliseconds(100);

    readonly string _node = RandomNumberGenerator.GetHexString(16, lowercase: true);
    readonly string _prefix;
    readonly TimeProvider _time;
    readonly RedisConnection _connection;
    readonly OutageCheck _outages;
    readonly TimeSpan _publishTimeout;
    readonly Outbox _outbox;
    readonly MemberDirectory _members;
    readonly CommandCheck _commandCheck;
    readonly NodeHeartbeat _heartbeat;
    readonly MemberWriter _memberWriter;
    readonly Func<IBackplaneReceiver, SubscriptionManager> _createSubscriptions;
    readonly RedisMetrics _metrics;
    readonly RedisLogger _logger;
    readonly Lock _lock = new();
    SubscriptionManager? _subscriptions;
    Task? _stopped;
    readonly CancellationTokenSource _leaving = new();
    Task _heartbeatLoop = Task.CompletedTask;
    Task _backgroundWork = Task.CompletedTask;
    readonly TaskCompletionSource<Task> _startupChecks = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <param name="name">The name of the broadcast.</param>
    /// <param name="options">The options.</param>
    /// <param name="connect">Creates or finds the connection to Redis.</param>
    /// <param name="ownsMultiplexer">True if the backplane must dispose of the connection.</param>
    /// <param name="failures">The failures of the connection.</param>
    /// <param name="time">The time provider.</param>
    /// <param name="meters">Creates the meter.</param>
    /// <param name="logger">The logger.</param>
    public RedisBackplane(
        string name, RedisBackplaneOptions options, Func<CancellationToken, Task<IConnectionMultiplexer>> connect,
        bool ownsMultiplexer, ConnectionFailures failures, TimeProvider time, IMeterFactory meters, ILogger logger)
    {
        _prefix = options.Prefix;
        _publishTimeout = options.PublishTimeout;
        _time = time;
        _logger = new(logger);
        _metrics = new(meters, name, () => _outbox?.Bytes ?? 0);
        _connection = new(
            connect, ownsMultiplexer, multiplexer => CreateKeySpace(multiplexer, options.Prefix, name), failures, time,
            _logger);
        var repairWindow = new RepairWindow(options.RepairMessages, options.RepairBytes, options.RepairAge);
        _outages = new(_connection, options.WhenUnreachable);
        var retries = options.WhenUnreachable != WhenUnreachable.Fail;
        var publisher = new BatchPublisher(
            _connection, _node, repairWindow, options.PublishTimeout, retries, _metrics,
            (group, epoch, last, tag) => _subscriptions?.OnAcknowledged(group, epoch, last, tag));
        _outbox = new(publisher, options.PublishTimeout, options.MaxOutboxBytes, _outages, time, _metrics);
        var localMembers = new LocalMembers();
        _heartbeat = new(_connection, options.NodeTimeout, options.PublishTimeout, time, _logger);
        _memberWriter = new(_connection, localMembers, GetNodeName, options.PublishTimeout, time, _logger);
        _heartbeat.NameConfirmed += _memberWriter.RewriteAllSoon;
        _members = new(_connection, localMembers, GetNodeName, _memberWriter, _outages, options.PublishTimeout);
        _commandCheck = new(_connection);
        _createSubscriptions = receiver => new(
            _connection, repairWindow, options.PublishTimeout, options.CheckInterval, receiver, time, _metrics,
            _logger);

        string? GetNodeName() => _heartbeat.NodeName;
    }

    /// <summary>The outbox. Only tests use this property.</summary>
    internal Outbox Outbox => _outbox;

    /// <summary>The heartbeat. Only tests use this property.</summary>
    internal NodeHeartbeat Heartbeat => _heartbeat;

    /// <summary>
    /// Completes when the startup checks have ended. The node runs these checks after its first connect. Only tests use
    /// this property.
    /// </summary>
    internal Task StartupChecks => _startupChecks.Task.Unwrap();

    /// <summary>The subscriptions. Only tests use this property.</summary>
    internal SubscriptionManager Subscriptions => _subscriptions!;

    public void Start(IBackplaneReceiver receiver)
    {
        ArgumentNullException.ThrowIfNull(receiver);
        lock (_lock)
        {
            if (_subscriptions is not null)
            {
                throw new InvalidOperationException(
                    "The backplane is already started. Create a separate backplane for each broadcast.");
            }

            _subscriptions = _createSubscriptions(receiver);
        }

        var isFirstConnect = 1;
        _connection.Connected += () =>
        {
            _subscriptions.CheckSoon();
            if (Interlocked.Exchange(ref isFirstConnect, 0) == 0)
            {
                _metrics.Reconnected();
                return;
            }

            _logger.Connected(_node, _prefix);
            _startupChecks.SetResult(Task.Run(() => RunStartupChecksAsync(_connection.Stopping)));
        };
        _connection.MasterConnected += () =>
        {
            _subscriptions.CheckSoon();
            _heartbeat.RenewSoon();
            _memberWriter.RewriteAllSoon();
        };
        _connection.Start();
        var stopping = _connection.Stopping;
        _heartbeatLoop = Task.Run(() => _heartbeat.RunAsync(_leaving.Token), CancellationToken.None);
        _backgroundWork = Task.WhenAll(
            Task.Run(() => _subscriptions.RunChecksAsync(stopping), CancellationToken.None),
            Task.Run(() => _memberWriter.RunAsync(stopping), CancellationToken.None));
    }

    public bool IsReachable => _connection.IsReachable;

    public ValueTask<Position> PublishAsync(
        string group, ReadOnlyMemory<byte> message, GroupOptions? history, RetainedKey? key,
        CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(group);
        return _outbox.PublishAsync(group, message, isTransient: false, null, history, key, cancellationToken);
    }

    public async ValueTask<(Position Position, bool IsDuplicate)> PublishOnceAsync(
        string group, string id, TimeSpan window, ReadOnlyMemory<byte> message, GroupOptions? history,
        RetainedKey? key, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(group);
        ArgumentException.ThrowIfNullOrEmpty(id);
        var once = new PublishOnce(id, window);
        var position = await _outbox.PublishAsync(
            group, message, isTransient: false, once, history, key, cancellationToken);
        return (position, once.IsDuplicate);
    }

    public async ValueTask<ReadOnlyMemory<byte>?> ReserveAsync(
        string group, string id, TimeSpan window, ReadOnlyMemory<byte> value, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(group);
        ArgumentException.ThrowIfNullOrEmpty(id);
        cancellationToken.ThrowIfCancellationRequested();
        // The connection may send the script again later, so the script needs its own copy of the value.
        RedisValue[] arguments = [value.ToArray(), Scripts.FormatMilliseconds(window)];
        var deadline = _connection.GetDeadline(_publishTimeout);
        if (await _outages.FindAsync(group, deadline, cancellationToken) is { } outage) throw outage;
        var keys = (await _connection.GetKeySpaceAsync(deadline, cancellationToken)).ForGroup(group);
        // Redis may execute the script twice. The second execution returns the value of the first execution.
        var reserved = await _connection.RunScriptAsync(
            Scripts.Reserve, [keys.MessageId(id), keys.Reservation(id)], arguments, deadline,
            cancellationToken: cancellationToken);
        if (reserved.IsNull) return null;
        return (byte[])reserved!;
    }

    public async ValueTask PublishTransientAsync(
        string group, ReadOnlyMemory<byte> message, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(group);
        await _outbox.PublishAsync(group, message, isTransient: true, null, null, null, cancellationToken);
    }

    public async ValueTask<BackplaneSubscription> SubscribeAsync(
        string group, GroupOptions? history, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(group);
        return await StartedSubscriptions.SubscribeAsync(group, history, cancellationToken);
    }

    public void Unsubscribe(string group)
    {
        ArgumentNullException.ThrowIfNull(group);
        StartedSubscriptions.Unsubscribe(group);
    }

    public void SetMember(string group, string member, ReadOnlyMemory<byte> value)
    {
        ArgumentNullException.ThrowIfNull(group);
        ArgumentNullException.ThrowIfNull(member);
        _members.Set(group, member, value);
    }

    public void RemoveMember(string group, string member)
    {
        ArgumentNullException.ThrowIfNull(group);
        ArgumentNullException.ThrowIfNull(member);
        _members.Remove(group, member);
    }

    public async ValueTask<IReadOnlyList<BackplaneMember>> GetMembersAsync(
        string group, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(group);
        cancellationToken.ThrowIfCancellationRequested();
        return await _members.ListAsync(group, cancellationToken);
    }

    public async ValueTask<long> CountMembersAsync(string group, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(group);
        cancellationToken.ThrowIfCancellationRequested();
        return await _members.CountAsync(group, cancellationToken);
    }

    /// <summary>
    /// Checks that Redis executes each command that the backplane needs, and returns the time of one round trip. The
    /// health check uses this method.
    /// </summary>
    /// <exception cref="BackplaneException">Redis refuses a command, or does not answer in time.</exception>
    public Task<TimeSpan> CheckAsync(TimeSpan timeout, CancellationToken cancellationToken) =>
        _commandCheck.RunAsync(timeout, cancellationToken);

    /// <summary>
    /// Supports containers that dispose of services synchronously. This method blocks the thread for a limited time.
    /// </summary>
    public void Dispose() => Task.Run(async () => await DisposeAsync()).Wait(DisposeTimeout);

    public ValueTask DisposeAsync()
    {
        lock (_lock) return new(_stopped ??= StopAsync(leaves: true));
    }

    SubscriptionManager StartedSubscriptions =>
        _subscriptions ?? throw new InvalidOperationException("The backplane is not started. Call Start first.");

    /// <summary>Stops without deleting the heartbeat, to simulate a crash. Only tests use this method.</summary>
    internal Task CrashAsync()
    {
        lock (_lock) return _stopped ??= StopAsync(leaves: false);
    }

    async Task StopAsync(bool leaves)
    {
        _subscriptions?.EndAll();
        await _leaving.CancelAsync();
        await _heartbeatLoop;
        _leaving.Dispose();
        if (leaves) await _heartbeat.LeaveAsync(LeaveTimeout);
        await _connection.DisposeAsync();
        await _backgroundWork;
        if (_startupChecks.Task.IsCompletedSuccessfully) await _startupChecks.Task.Result;
    }

    /// <summary>Checks the eviction policy and the commands of Redis, and logs a warning for each problem.</summary>
    async Task RunStartupChecksAsync(CancellationToken stopping)
    {
        await RunAsync(() => new EvictionPolicyCheck(_connection, _logger).RunAsync(CheckTimeout, stopping));
        await RunAsync(() => _commandCheck.RunAsync(CheckTimeout, stopping));

        async Task RunAsync(Func<Task> check)
        {
            var deadline = _connection.GetDeadline(CheckTimeout);
            while (true)
            {
                try
                {
                    await check();
                    return;
                }
                catch (BackplaneException exception) when (!IsTemporary(exception))
                {
                    _logger.Refused(exception.Message);
                    return;
                }
                catch (Exception exception) when (exception is BackplaneException or OperationCanceledException)
                {
                    // This error is temporary. For example, StackExchange.Redis connects the subscription after the
                    // commands. Without a success until the deadline, the health check can still run the command check.
                    _logger.Retrying(exception.Message);
                    if (stopping.IsCancellationRequested || _time.GetTimestamp() >= deadline) return;
                }

                await Task.Delay(CheckRetryDelay, _time, stopping)
                    .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }

        static bool IsTemporary(BackplaneException exception) =>
            exception.InnerException is RedisConnectionException or TimeoutException or OperationCanceledException;
    }

    static KeySpace CreateKeySpace(IConnectionMultiplexer multiplexer, string prefix, string broadcast)
    {
        byte[] channelPrefix;
        try
        {
            var configuration = ConfigurationOptions.Parse(multiplexer.Configuration, ignoreUnknown: true);
            channelPrefix = (byte[]?)configuration.ChannelPrefix ?? [];
        }
        catch (ArgumentException)
        {
            // An implementation of IConnectionMultiplexer in the app may use another configuration format.
            channelPrefix = [];
        }

        return new(prefix, broadcast, multiplexer.GetDatabase().Database, channelPrefix);
    }
}
