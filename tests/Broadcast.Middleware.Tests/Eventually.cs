using System.Runtime.CompilerServices;

namespace Broadcast.Middleware.Tests;

/// <summary>Polls a condition that no event reports. Fails the test after a timeout.</summary>
static class Eventually
{
    public static async Task True(
        Func<bool> condition, TimeSpan? within = null, [CallerArgumentExpression(nameof(condition))] string? what = null)
    {
        var limit = within ?? TimeSpan.FromSeconds(10);
        var started = TimeProvider.System.GetTimestamp();
        while (!condition())
        {
            if (TimeProvider.System.GetElapsedTime(started) > limit) Assert.Fail($"Not true within {limit}: {what}");
            await Task.Delay(5, TestContext.Current.CancellationToken);
        }
    }
}
