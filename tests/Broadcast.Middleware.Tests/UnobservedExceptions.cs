namespace Broadcast.Middleware.Tests;

/// <summary>Notes what tasks nobody awaited have thrown while it lives.</summary>
sealed class UnobservedExceptions : IDisposable
{
    readonly List<string> _exceptions = [];

    public UnobservedExceptions() => TaskScheduler.UnobservedTaskException += Note;

    /// <summary>
    /// Whatever other tests may leave behind at the same time has passed through this library if it is a matter of this test.
    /// </summary>
    public void AssertNoneOfOurs()
    {
        for (var i = 0; i < 3; i++)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }

        lock (_exceptions) Assert.DoesNotContain(_exceptions, exception => exception.Contains("at Broadcast.Middleware.", StringComparison.Ordinal));
    }

    public void Dispose() => TaskScheduler.UnobservedTaskException -= Note;

    void Note(object? sender, UnobservedTaskExceptionEventArgs args)
    {
        lock (_exceptions) _exceptions.Add(args.Exception.ToString());
    }
}
