using System.Diagnostics;

[assembly: AssemblyFixture(typeof(FailedAssertions))]

namespace Broadcast.Middleware.Tests.Support;

/// <summary>
/// Fails the test run if a <see cref="Debug.Assert(bool)"/> of the library has failed. Without this class, the run would miss
/// an assertion that fails on a thread of the library, because the library catches the exception. A release build
/// contains no assertions.
/// </summary>
public sealed class FailedAssertions : TraceListener
{
    [ThreadStatic]
    static bool _isExpected;

    readonly List<string> _failures = [];

    // The listener of the test framework throws an exception, so this listener must come before that listener.
    public FailedAssertions() => Trace.Listeners.Insert(0, this);

    /// <summary>Runs code whose assertions may fail. Returns the exception of the first failed assertion, or null.</summary>
    internal static Exception? Record(Action act)
    {
        _isExpected = true;
        try
        {
            return Xunit.Record.Exception(act);
        }
        finally
        {
            _isExpected = false;
        }
    }

    public override void Fail(string? message, string? detailMessage)
    {
        if (_isExpected) return;
        lock (_failures) _failures.Add($"{message} {detailMessage}{Environment.NewLine}{new StackTrace(1)}");
    }

    public override void Write(string? message) { }

    public override void WriteLine(string? message) { }

    protected override void Dispose(bool disposing)
    {
        Trace.Listeners.Remove(this);
        lock (_failures)
            Assert.True(_failures.Count == 0, $"{_failures.Count} assertions failed. The first is: {_failures.FirstOrDefault()}");
    }
}
