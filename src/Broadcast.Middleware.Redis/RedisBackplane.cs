using System.Diagnostics.Metrics;
using Microsoft.Extensions.Logging;
using StackExchange.Redis;

namespace Broadcast.Middleware;

/// <summary>One node of a broadcast, in Redis. docs/redis.md says how it works.</summary>
sealed class RedisBackplane : IBackplane, IAsyncDisposable, IDisposable
{
    static readonly TimeSpan Goodbye = TimeSpan.FromSeconds(1);

    readonly string _node = Epoch.New();
    readonly RedisBackplaneOptions _options;
    readonly TimeProvider _time;
    readonly RedisLink _link;
    readonly Outbox _outbox;
    readonly MemberBook _members;
    readonly RedisMetrics _metrics;
    readonly RedisLog _log;
    readonly Lock _gate = new();
    Subscriptions? _subscriptions;
    Task? _ended;
    Task _working = Task.CompletedTask;

    public RedisBackplane(
        string name, RedisBackplaneOptions options, Func<CancellationToken, Task<IConnectionMultiplexer>> connect, bool ownsConnection, TimeProvider time,
        IMeterFactory meters, ILogger logger)
    {
        _options = options;
        _time = time;
        _log = new(logger);
        _link = new(connect, ownsConnection, multiplexer => KeysFor(multiplexer, options.Prefix, name), time, _log);
        _metrics = new(meters, name, () => _outbox?.Bytes ?? 0);
        _outbox = new(_link, _node, options, time, _metrics);
        _members = new(_link, options, time, _log);
    }

    /// <summary>For the health check.</summary>
    public RedisLink Link => _link;

    /// <summary>For tests.</summary>
    internal Outbox Outbox => _outbox;

    public void Start(IBackplaneReceiver receiver)
    {
        ArgumentNullException.ThrowIfNull(receiver);
        lock (_gate)
        {
            if (_subscriptions is not null) throw new InvalidOperationException("The node has been started already: each broadcast needs one of its own.");
            _subscriptions = new(_link, _options, receiver, _time, _metrics, _log);
        }

        var first = 1;
        _link.Restored += () =>
        {
            if (Interlocked.Exchange(ref first, 0) == 1) _log.Connected(_node, _options.Prefix);
            else _metrics.Reconnected();
            _subscriptions.CheckSoon();
            _members.WriteAllSoon();
        };
        _link.Start();
        _working = Task.WhenAll(Task.Run(() => _subscriptions.CheckAsync(_link.Ending)), Task.Run(() => _members.WriteAsync(_link.Ending)));
    }

    public ValueTask<Position> PublishAsync(string group, ReadOnlyMemory<byte> message, GroupOptions? history, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(group);
        return _outbox.PublishAsync(group, message, history, cancellationToken);
    }

    public async ValueTask<BackplaneSubscription> SubscribeAsync(string group, GroupOptions? history, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(group);
        return await Started.SubscribeAsync(group, history, cancellationToken);
    }

    public void Unsubscribe(string group)
    {
        ArgumentNullException.ThrowIfNull(group);
        Started.Unsubscribe(group);
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

    public async ValueTask<IReadOnlyList<BackplaneMember>> GetMembersAsync(string group, CancellationToken cancellationToken)
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

    /// <summary>A container may be disposed of in this way too; it costs a thread, and has a limit.</summary>
    public void Dispose() => Task.Run(async () => await DisposeAsync()).Wait(Goodbye * 3);

    public ValueTask DisposeAsync()
    {
        lock (_gate) return new(_ended ??= EndAsync());
    }

    Subscriptions Started => _subscriptions ?? throw new InvalidOperationException("The node has not been started.");

    /// <summary>For tests: ends without a goodbye.</summary>
    internal Task CrashAsync()
    {
        lock (_gate) return _ended ??= EndAsync(sayGoodbye: false);
    }

    async Task EndAsync(bool sayGoodbye = true)
    {
        _subscriptions?.End();
        if (sayGoodbye) await _members.LeaveAsync(Goodbye);
        await _link.DisposeAsync();
        await _working;
    }

    static Keys KeysFor(IConnectionMultiplexer multiplexer, string prefix, string name)
    {
        byte[] channelPrefix;
        try
        {
            channelPrefix = (byte[]?)ConfigurationOptions.Parse(multiplexer.Configuration, ignoreUnknown: true).ChannelPrefix ?? [];
        }
        catch (ArgumentException)
        {
            // Not the library's own multiplexer.
            channelPrefix = [];
        }

        return new(prefix, name, multiplexer.GetDatabase().Database, channelPrefix);
    }
}
