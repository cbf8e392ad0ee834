using System.Text.RegularExpressions;

namespace Broadcast.Middleware.Tests.Support;

/// <summary>Collects the exceptions of tasks that no code awaits.</summary>
sealed class UnobservedExceptions : IDisposable
{
    // Matches code of the library, but not code of the tests.
    static readonly Regex OfOurs = new(@"at Broadcast\.Middleware\.(?!Tests\.)", RegexOptions.CultureInvariant);

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

        lock (_exceptions) Assert.DoesNotContain(_exceptions, exception => OfOurs.IsMatch(exception));
    }

    public void Dispose() => TaskScheduler.UnobservedTaskException -= Note;

    void Note(object? sender, UnobservedTaskExceptionEventArgs args)
    {
        lock (_exceptions) _exceptions.Add(args.Exception.ToString());
    }
}
