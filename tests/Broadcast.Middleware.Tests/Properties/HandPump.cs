namespace Broadcast.Middleware.Tests.Properties;

/// <summary>A pump that runs when the test says so, on the test's thread.</summary>
sealed class HandPump
{
    IThreadPoolWorkItem? _scheduled;

    public HandPump() => Pump = new Pump(work =>
    {
        if (_scheduled is not null) throw new InvalidOperationException("The pump was scheduled twice: it could run on two threads at once.");
        _scheduled = work;
    });

    public Pump Pump { get; }

    public bool IsScheduled => _scheduled is not null;

    /// <summary>False if there is nothing to do.</summary>
    public bool RunTurn()
    {
        if (_scheduled is not { } work) return false;
        _scheduled = null;
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
