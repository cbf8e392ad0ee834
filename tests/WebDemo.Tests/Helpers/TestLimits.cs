namespace WebDemo.Tests;

/// <summary>The time that a test waits for an event that normally happens immediately.</summary>
static class TestLimits
{
    /// <summary>
    /// The limit is long, because a busy machine needs many seconds to start a process. The limit only delays the
    /// failure of a test.
    /// </summary>
    public static readonly TimeSpan Wait = TimeSpan.FromSeconds(60);
}
