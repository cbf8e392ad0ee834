namespace Broadcast.Middleware.Diagnostics;

/// <summary>
/// Starts work that outlives its caller. The work does not run in the execution context of the caller, so it keeps
/// neither the caller's activity nor its <see cref="AsyncLocal{T}"/> values.
/// </summary>
static class BackgroundWork
{
    /// <summary>Runs the work on the thread pool.</summary>
    public static Task Run(Func<Task> work)
    {
        using var suppressed = SuppressFlow();
        return Task.Run(work);
    }

    /// <inheritdoc cref="Run(Func{Task})"/>
    public static Task Run(Action work)
    {
        using var suppressed = SuppressFlow();
        return Task.Run(work);
    }

    /// <inheritdoc cref="TimeProvider.CreateTimer"/>
    public static ITimer CreateTimer(
        TimeProvider time, TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        using var suppressed = SuppressFlow();
        return time.CreateTimer(callback, state, dueTime, period);
    }

    static AsyncFlowControl? SuppressFlow() =>
        ExecutionContext.IsFlowSuppressed() ? null : ExecutionContext.SuppressFlow();
}
