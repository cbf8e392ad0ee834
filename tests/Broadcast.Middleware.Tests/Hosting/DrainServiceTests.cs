using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging.Abstractions;

namespace Broadcast.Middleware.Tests.Hosting;

public sealed class DrainServiceTests
{
    [Fact]
    public async Task StoppedAsync_TwoAwaitedTasks_WaitsForBoth()
    {
        await using var services = new ServiceCollection().BuildServiceProvider();
        using var schedule = new DrainSchedule(services);
        var (first, second) = (new TaskCompletionSource(), new TaskCompletionSource());
        schedule.WaitAtShutdown(first.Task);
        schedule.WaitAtShutdown(second.Task);

        var stopped = new DrainService(schedule, services, NullLoggerFactory.Instance).StoppedAsync(CancellationToken.None);

        second.SetResult();
        Assert.False(schedule.CompleteAsync().IsCompleted);
        Assert.False(stopped.IsCompleted);
        first.SetResult();
        await stopped.WaitAsync(Eventually.Patience, TestContext.Current.CancellationToken);
    }
}
