namespace Broadcast.Middleware.Tests.Support;

static class TestThread
{
    /// <summary>Runs the action on a new thread.</summary>
    public static Task Start(Action action) =>
        Task.Factory.StartNew(action, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
}
