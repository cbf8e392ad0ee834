using Microsoft.Extensions.Logging;

namespace Broadcast.Middleware.Tests.Support;

static class LogAssert
{
    /// <summary>Asserts that the server logged no error. Events that clients cause are not errors.</summary>
    public static void NoErrors(BroadcastApp app) =>
        Assert.DoesNotContain(app.Logs.GetSnapshot(), record => record.Level >= LogLevel.Error);
}
