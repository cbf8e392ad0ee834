namespace Broadcast.Middleware.Tests.Support;

/// <summary>A pump item that runs after all items that were posted before it.</summary>
sealed class PumpBarrier : PumpItem
{
    readonly TaskCompletionSource _passed = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public static Task PassAsync(Pump pump)
    {
        var barrier = new PumpBarrier();
        pump.Post(barrier);
        return barrier._passed.Task.WaitAsync(Eventually.Patience, TestContext.Current.CancellationToken);
    }

    public override void Run() => _passed.SetResult();
}
