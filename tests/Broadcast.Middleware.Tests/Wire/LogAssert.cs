using Microsoft.Extensions.Logging;

namespace Broadcast.Middleware.Tests.Wire;

static class LogAssert
{
    /// <summary>What clients do is no error of the server's.</summary>
    public static void NoErrors(BroadcastApp app) =>
        Assert.DoesNotContain(app.Logs.GetSnapshot(), record => record.Level >= LogLevel.Error);
}
