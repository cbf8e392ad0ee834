using System.Text.RegularExpressions;

namespace Broadcast.Middleware.Tests.Support;

/// <summary>Collects unobserved exceptions of tasks that no code awaits.</summary>
sealed class UnobservedExceptions : IDisposable
{
    // Matches stack frames of the library, but not of the tests and the test kit.
    static readonly Regex OfOurs = new(@"at Broadcast\.Middleware\.(?!Tests\.|Testing\.)", RegexOptions.CultureInvariant);

    readonly List<string> _exceptions = [];

    public UnobservedExceptions() => TaskScheduler.UnobservedTaskException += Note;

    /// <summary>
    /// Fails if the stack trace of an exception contains this library. Ignores other exceptions, because tests that run
    /// at the same time may cause them.
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
