namespace Broadcast.Middleware.Diagnostics;

/// <summary>
/// Starts timers, loops and other work that outlives the caller, without the execution context of the caller.
/// Otherwise, the work would keep the activity and the <see cref="AsyncLocal{T}"/> values of the request that starts
/// the work.
/// </summary>
static class BackgroundWork
{
    /// <summary>Runs the work on the thread pool.</summary>
    public static Task Run(Func<Task> work)
    {
        using var suppressed = ExecutionContext.SuppressFlow();
        return Task.Run(work);
    }

    /// <inheritdoc cref="Run(Func{Task})"/>
    public static Task Run(Action work)
    {
        using var suppressed = ExecutionContext.SuppressFlow();
        return Task.Run(work);
    }

    /// <summary>
    /// Runs the work on the thread pool, and keeps no task in memory while the work waits. The work must handle its own
    /// exceptions.
    /// </summary>
    public static void Post(Func<Task> work) =>
        ThreadPool.UnsafeQueueUserWorkItem(static work => _ = work(), work, preferLocal: false);

    /// <summary>Calls a method that starts background work.</summary>
    public static void Start(Action start)
    {
        using var suppressed = ExecutionContext.SuppressFlow();
        start();
    }

    /// <inheritdoc cref="TimeProvider.CreateTimer"/>
    public static ITimer CreateTimer(
        TimeProvider time, TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        using var suppressed = ExecutionContext.SuppressFlow();
        return time.CreateTimer(callback, state, dueTime, period);
    }
}
