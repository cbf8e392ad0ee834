namespace Broadcast.Middleware.Tests.Support;

/// <summary>A subscriber that ignores all notifications. The test reads the cursors of the subscriber.</summary>
sealed class IdleSubscriber : ILogSubscriber
{
    public string Id => "reader";

    public void OnNewMessages() { }

    public void OnPrivateLogRead(long readByte) { }
}
