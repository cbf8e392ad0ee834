namespace Broadcast.Middleware.Delivery;

/// <summary>
/// Measures the backlog of one connection on the thread of its pump. Only this thread may use the reader of the
/// connection.
/// </summary>
sealed class BacklogProbe : PumpItem
{
    readonly ConnectionWriter _writer;
    readonly TaskCompletionSource<long> _backlog = new(TaskCreationOptions.RunContinuationsAsynchronously);

    BacklogProbe(ConnectionWriter writer) => _writer = writer;

    /// <summary>Returns the backlog in bytes: see <see cref="ConnectionWriter.Backlog"/>.</summary>
    public static Task<long> MeasureAsync(ConnectionWriter writer)
    {
        var probe = new BacklogProbe(writer);
        writer.Pump.Post(probe);
        return probe._backlog.Task;
    }

    public override void Run() => _backlog.SetResult(_writer.Backlog);
}
