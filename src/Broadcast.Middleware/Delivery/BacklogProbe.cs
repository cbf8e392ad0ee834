namespace Broadcast.Middleware.Delivery;

/// <summary>
/// Measures the backlog of one connection on the thread of its pump. Only this thread may use the reader of the
/// connection.
/// </summary>
sealed class BacklogProbe : PumpItem
{
    readonly Func<long> _measure;
    readonly TaskCompletionSource<long> _backlog = new(TaskCreationOptions.RunContinuationsAsynchronously);

    BacklogProbe(Func<long> measure) => _measure = measure;

    /// <summary>Returns the result of a function that the pump calls on its thread.</summary>
    public static Task<long> MeasureAsync(Pump pump, Func<long> measure)
    {
        var probe = new BacklogProbe(measure);
        pump.Post(probe);
        return probe._backlog.Task;
    }

    public override void Run() => _backlog.SetResult(_measure());
}
