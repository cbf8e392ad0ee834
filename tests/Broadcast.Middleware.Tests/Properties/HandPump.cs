namespace Broadcast.Middleware.Tests.Properties;

/// <summary>A pump that runs when the test says so, on the test's thread.</summary>
sealed class HandPump
{
    IThreadPoolWorkItem? _scheduled;

    public HandPump() => Pump = new Pump(work =>
    {
        // From any thread: what is lost is told from another one.
        if (Interlocked.CompareExchange(ref _scheduled, work, null) is not null) throw new InvalidOperationException("The pump was scheduled twice: it could run on two threads at once.");
    });

    public Pump Pump { get; }

    public bool IsScheduled => Volatile.Read(ref _scheduled) is not null;

    /// <summary>False if there is nothing to do.</summary>
    public bool RunTurn()
    {
        if (Interlocked.Exchange(ref _scheduled, null) is not { } work) return false;
        work.Execute();
        return true;
    }

    public void RunUntilIdle()
    {
        while (RunTurn())
        {
        }
    }
}
