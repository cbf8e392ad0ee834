using System.Collections.Concurrent;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Tests.Diagnostics;

/// <summary>Tests that timers and loops do not keep the execution context of the request that starts them.</summary>
public sealed class ExecutionContextTests
{
    readonly AsyncLocal<string?> _request = new();

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task PresencePolling_FirstWatcherHasContext_RunsWithoutContext()
    {
        var backplane = new ContextBackplane(_request);
        using var broadcast = new TestEngine(backplane: backplane);
        using var end = new CancellationTokenSource();
        _request.Value = "watcher";
        await using var watch = broadcast.Presence.WatchAsync("/g", end.Token).GetAsyncEnumerator(end.Token);
        var change = watch.MoveNextAsync().AsTask();
        // The fake clock runs timer callbacks on this thread, so clear the value of the request first.
        _request.Value = null;

        // The watcher and the polling loop each make one query when they start. Only the polling loop makes further queries.
        await Eventually.True(() =>
        {
            broadcast.Time.Advance(TimeSpan.FromSeconds(1));
            return backplane.Queries.Length > 2;
        });

        await end.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => change);
        Assert.Equal(["watcher"], backplane.Queries.OfType<string>());
    }

    [Fact]
    public async Task Backplane_RequestCreatesBroadcast_RunsWithoutContext()
    {
        var backplane = new ContextBackplane(_request);
        _request.Value = "request";

        using var broadcast = new TestEngine(backplane: backplane);

        Assert.Null(await backplane.Work.WaitAsync(Eventually.Patience, Token));
    }

    [Fact]
    public async Task InboxSubscription_RequestCreatesBroadcast_IsRetriedWithoutContext()
    {
        var backplane = new ContextBackplane(_request) { IsUnreachable = true };
        _request.Value = "request";
        using var broadcast = new TestEngine(backplane: backplane);
        // The fake clock runs timer callbacks on this thread, so clear the value of the request first.
        _request.Value = null;

        await Eventually.True(() =>
        {
            broadcast.Time.Advance(TimeSpan.FromSeconds(1));
            return backplane.Subscribes.Length > 1;
        });

        Assert.Null(backplane.Subscribes[1]);
    }

    [Fact]
    public async Task Timers_RequestCreatesOrClosesConnection_KeepNoContext()
    {
        var time = new ContextProbe(_request);
        _request.Value = "request";
        await using var app = await InMemoryApp.StartAsync(builder => builder.Services.AddSingleton<TimeProvider>(time));
        using var client = await app.ConnectAsync();

        await app.Broadcaster.CloseAsync(client.Connection.Id, cancellationToken: Token);

        Assert.Equal("request", _request.Value);
        Assert.True(time.Timers >= 2, "Expected at least two timers: one for the heartbeat and one for the close timeout.");
        Assert.Empty(time.Kept);
    }

    /// <summary>A backplane that records the context value of its caller.</summary>
    sealed class ContextBackplane(AsyncLocal<string?> value) : IBackplane
    {
        readonly ConcurrentQueue<string?> _queries = new();
        readonly ConcurrentQueue<string?> _subscribes = new();

        public bool IsUnreachable { get; init; }

        /// <summary>The context value in a task that the backplane starts.</summary>
        public Task<string?> Work { get; private set; } = null!;

        public string?[] Queries => [.. _queries];

        public string?[] Subscribes => [.. _subscribes];

        public void Start(IBackplaneReceiver receiver) => Work = Task.Run(() => value.Value);

        public ValueTask<BackplaneSubscription> SubscribeAsync(string group, GroupOptions? history, CancellationToken cancellationToken)
        {
            _subscribes.Enqueue(value.Value);
            return IsUnreachable ? throw new BackplaneException("Unreachable.") : new(new BackplaneSubscription(default, []));
        }

        public ValueTask<IReadOnlyList<BackplaneMember>> GetMembersAsync(string group, CancellationToken cancellationToken)
        {
            _queries.Enqueue(value.Value);
            return new([]);
        }

        public ValueTask<long> CountMembersAsync(string group, CancellationToken cancellationToken) => new(0);

        public ValueTask<Position> PublishAsync(
            string group, ReadOnlyMemory<byte> message, GroupOptions? history, RetainedKey? key, CancellationToken cancellationToken) => default;

        public ValueTask<(Position Position, bool IsDuplicate)> PublishOnceAsync(
            string group, string id, TimeSpan window, ReadOnlyMemory<byte> message, GroupOptions? history, RetainedKey? key, CancellationToken cancellationToken) => default;

        public ValueTask<ReadOnlyMemory<byte>?> ReserveAsync(
            string group, string id, TimeSpan window, ReadOnlyMemory<byte> value, CancellationToken cancellationToken) => new(value);

        public ValueTask PublishTransientAsync(string group, ReadOnlyMemory<byte> message, CancellationToken cancellationToken) => default;

        public void Unsubscribe(string group)
        {
        }

        public void SetMember(string group, string member, ReadOnlyMemory<byte> value)
        {
        }

        public void RemoveMember(string group, string member)
        {
        }
    }

    /// <summary>A clock that records the timers that keep an execution context with a value.</summary>
    sealed class ContextProbe(AsyncLocal<string?> value) : TimeProvider
    {
        readonly List<string> _kept = [];
        int _timers;

        public int Timers => _timers;

        public string[] Kept
        {
            get
            {
                lock (_kept) return [.. _kept];
            }
        }

        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
        {
            Interlocked.Increment(ref _timers);
            if (!ExecutionContext.IsFlowSuppressed() && value.Value is not null)
            {
                lock (_kept) _kept.Add($"{state} in {dueTime}");
            }

            return base.CreateTimer(callback, state, dueTime, period);
        }
    }
}
