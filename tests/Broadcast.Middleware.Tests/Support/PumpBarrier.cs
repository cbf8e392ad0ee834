namespace Broadcast.Middleware.Tests.Support;

/// <summary>An item that runs after everything that was posted to the pump before.</summary>
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
