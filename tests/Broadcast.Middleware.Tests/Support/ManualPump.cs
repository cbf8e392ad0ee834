namespace Broadcast.Middleware.Tests.Support;

/// <summary>A pump that runs on the thread of the test when the test calls <see cref="RunTurn"/>.</summary>
sealed class ManualPump
{
    IThreadPoolWorkItem? _scheduled;

    public ManualPump() => Pump = new Pump(work =>
    {
        // Any thread may schedule the pump.
        if (Interlocked.CompareExchange(ref _scheduled, work, null) is not null) throw new InvalidOperationException("The pump was scheduled twice: it could run on two threads at once.");
    });

    public Pump Pump { get; }

    public bool IsScheduled => Volatile.Read(ref _scheduled) is not null;

    /// <summary>Runs the scheduled work. Returns false if no work is scheduled.</summary>
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
