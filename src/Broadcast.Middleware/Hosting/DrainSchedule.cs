using Broadcast.Middleware.Connections;
using Broadcast.Middleware.Diagnostics;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Options;

namespace Broadcast.Middleware.Hosting;

/// <summary>
/// Decides when a stopping app closes its connections. The hosted services of the app may publish messages while they
/// stop, so the connections close after the hosted services have stopped. If the services or other requests take too
/// long, the connections close earlier. The remaining shutdown time is then at least
/// <see cref="BroadcastOptions.DrainTimeout"/>.
/// </summary>
/// <remarks>
/// If the app has no hosted services, the connections close at once. The connections also close at once if the server
/// is not a <see cref="DrainingServer"/>. Another server may wait for its connections before the host stops the hosted
/// services.
/// </remarks>
sealed class DrainSchedule : IDisposable
{
    static readonly TimeSpan AbandonTime = TimeSpan.FromSeconds(1);
    static readonly TimeSpan CheckInterval = TimeSpan.FromMilliseconds(20);

    readonly IServiceProvider _services;

    // A timer may call Cancel during the disposal of this class, so nothing disposes this source.
    readonly CancellationTokenSource _starting = new();
    readonly CancellationTokenRegistration _stopping;
    readonly List<ConnectionManager> _managers = [];
    readonly List<Task> _awaited = [];
    ITimer? _latestStart;
    bool _isDelayed; // True if the connections stay open until the hosted services have stopped.

    // The timers of these two sources use the system clock, because the host uses the system clock, too.
    readonly CancellationTokenSource _timedOut = new();
    readonly CancellationTokenSource _abandoned = new();

    public DrainSchedule(IServiceProvider services)
    {
        _services = services;
        if (services.GetService<IHostApplicationLifetime>() is { } lifetime)
            _stopping = lifetime.ApplicationStopping.UnsafeRegister(
                static schedule => ((DrainSchedule)schedule!).OnStopping(), this);
    }

    /// <summary>Canceled when the connections must close.</summary>
    public CancellationToken Starting => _starting.Token;

    /// <summary>True if the app has hosted services that may publish messages while they stop.</summary>
    public bool HasServicesOfApp =>
        _services.GetServices<IHostedService>().Any(static service => IsOfApp(service.GetType()));

    public void Add(ConnectionManager manager)
    {
        lock (_managers) _managers.Add(manager);
    }

    /// <summary>
    /// Canceled when the server no longer waits for connections that were handed over. Kestrel also waits for its own
    /// connections until one second after the shutdown timeout.
    /// </summary>
    public CancellationToken Abandoned => _abandoned.Token;

    /// <summary>Adds a task that the app awaits during its shutdown.</summary>
    public void WaitAtShutdown(Task task)
    {
        lock (_awaited)
        {
            _awaited.RemoveAll(static other => other.IsCompleted);
            _awaited.Add(task);
        }
    }

    /// <summary>Returns a task that completes after the tasks of <see cref="WaitAtShutdown"/>.</summary>
    public Task CompleteAsync()
    {
        lock (_awaited) return Task.WhenAll(_awaited);
    }

    /// <summary>
    /// Waits until the server has stopped. If the connections stay open, the method also returns when the server serves
    /// only connections.
    /// </summary>
    /// <param name="stopped">A task that completes when the server has stopped.</param>
    /// <param name="countRequests">Returns the number of open HTTP requests of the server.</param>
    public async Task WaitForServerAsync(Task stopped, Func<int> countRequests)
    {
        while (_isDelayed && !stopped.IsCompleted)
        {
            if (IsServingOnlyConnections(countRequests)) return;
            await Task.WhenAny(stopped, Task.Delay(CheckInterval, CancellationToken.None));
        }

        await stopped;
    }

    /// <summary>Closes the connections. Further calls have no effect.</summary>
    public void Start() => _starting.Cancel();

    public void Dispose()
    {
        _stopping.Dispose();
        _latestStart?.Dispose();
        // The timers of these sources would otherwise keep this object in memory until the shutdown timeout.
        _timedOut.Dispose();
        _abandoned.Dispose();
    }

    void OnStopping()
    {
        try
        {
            var timeout = _services.GetRequiredService<IOptions<HostOptions>>().Value.ShutdownTimeout;
            var isLimited = timeout != Timeout.InfiniteTimeSpan;
            if (isLimited) BackgroundWork.Start(() => StartTimeout(timeout));
            _isDelayed = _services.GetService<IServer>() is DrainingServer && HasServicesOfApp;
            if (_isDelayed && isLimited) ReserveDrainTimeout(timeout);
        }
        finally
        {
            // HasServicesOfApp throws if the app cannot create a hosted service. In this case, the host has not
            // started, so no hosted service publishes messages.
            if (!_isDelayed) Start();
        }
    }

    /// <summary>Returns true if a broadcast has connections, and if all HTTP requests serve connections.</summary>
    bool IsServingOnlyConnections(Func<int> countRequests)
    {
        lock (_managers)
        {
            // Check the connections first, so that the count includes the requests that have opened them.
            return _managers.Any(static manager => manager.Count > 0)
                && countRequests() <= _managers.Sum(static manager => manager.OpenRequests);
        }
    }

    /// <summary>
    /// Aborts all connections after the shutdown timeout, because Kestrel aborts only the connections that Kestrel
    /// serves. A second later, the server no longer waits for connections.
    /// </summary>
    void StartTimeout(TimeSpan shutdownTimeout)
    {
        _timedOut.Token.UnsafeRegister(static schedule => ((DrainSchedule)schedule!).AbortAll(), this);
        _timedOut.CancelAfter(shutdownTimeout);
        _abandoned.CancelAfter(shutdownTimeout + AbandonTime);
    }

    void AbortAll()
    {
        lock (_managers) _managers.ForEach(static manager => manager.AbortAll());
    }

    /// <summary>
    /// Starts a timer that closes the connections one drain timeout before the end of the shutdown timeout. After the
    /// shutdown timeout, the server aborts all connections at once.
    /// </summary>
    void ReserveDrainTimeout(TimeSpan shutdownTimeout)
    {
        TimeSpan drainTimeout;
        lock (_managers) drainTimeout = _managers.Select(static manager => manager.DrainTimeout).Append(default).Max();
        var delay = shutdownTimeout - drainTimeout;
        _latestStart = BackgroundWork.CreateTimer(
            _services.GetRequiredService<TimeProvider>(),
            static schedule => ((DrainSchedule)schedule!).Start(),
            this,
            delay > TimeSpan.Zero ? delay : TimeSpan.Zero,
            Timeout.InfiniteTimeSpan);
    }

    /// <summary>
    /// Returns false for hosted services of the framework and of this library. These services publish nothing.
    /// </summary>
    static bool IsOfApp(Type service) =>
        service.Assembly != typeof(DrainSchedule).Assembly
        && service.Assembly.GetName().Name?.StartsWith("Microsoft.", StringComparison.Ordinal) is not true;
}
