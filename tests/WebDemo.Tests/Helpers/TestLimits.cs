namespace WebDemo.Tests;

/// <summary>The time that a test waits for something that normally happens at once.</summary>
static class TestLimits
{
    /// <summary>A busy machine needs many seconds to start a process. The limit only delays a failure.</summary>
    public static readonly TimeSpan Wait = TimeSpan.FromSeconds(60);
}
