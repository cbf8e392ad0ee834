using System.Runtime.CompilerServices;

namespace Broadcast.Middleware.Tests.Support;

/// <summary>Polls a condition that has no event. Fails the test after a timeout.</summary>
static class Eventually
{
    /// <summary>
    /// The maximum time that a test waits for an expected event. A test that passes never waits so long, even on a busy
    /// machine.
    /// </summary>
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    public static async Task True(
        Func<bool> condition, TimeSpan? within = null, [CallerArgumentExpression(nameof(condition))] string? expression = null)
    {
        var limit = within ?? Patience;
        var started = TimeProvider.System.GetTimestamp();
        while (!condition())
        {
            if (TimeProvider.System.GetElapsedTime(started) > limit) Assert.Fail($"Not true within {limit}: {expression}");
            await Task.Delay(5, TestContext.Current.CancellationToken);
        }
    }
}
