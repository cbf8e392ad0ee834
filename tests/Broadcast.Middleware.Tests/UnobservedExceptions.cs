namespace Broadcast.Middleware.Tests;

/// <summary>Collects the exceptions of tasks that no code awaits.</summary>
sealed class UnobservedExceptions : IDisposable
{
    readonly List<string> _exceptions = [];

    public UnobservedExceptions() => TaskScheduler.UnobservedTaskException += Note;

    /// <summary>
    /// Fails if an exception passed through this library. Tests that run at the same time may leave other exceptions.
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
