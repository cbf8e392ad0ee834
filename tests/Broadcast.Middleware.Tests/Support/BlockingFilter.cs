namespace Broadcast.Middleware.Tests.Support;

public enum Stage
{
    Connect,
    Message,
    Disconnect,
}

public enum Blocking
{
    /// <summary>The filter awaits a task until the test releases the filter.</summary>
    Task,

    /// <summary>The filter blocks its thread until the test releases the filter.</summary>
    Thread,

    /// <summary>The filter waits until the connection is aborted or the test releases the filter.</summary>
    UntilAborted,
}

/// <summary>A filter that blocks one stage of the connections of the user "it" until the test releases the filter.</summary>
sealed class BlockingFilter(Stage stage, Blocking blocking) : IBroadcastFilter, IDisposable
{
    readonly TaskCompletionSource _entered = new(TaskCreationOptions.RunContinuationsAsynchronously);
    readonly TaskCompletionSource _left = new(TaskCreationOptions.RunContinuationsAsynchronously);
    readonly TaskCompletionSource _released = new(TaskCreationOptions.RunContinuationsAsynchronously);
    readonly ManualResetEventSlim _threadReleased = new();

    public Stage Stage => stage;

    /// <summary>Completes when the filter blocks.</summary>
    public Task Entered => _entered.Task.WaitAsync(Eventually.Patience, TestContext.Current.CancellationToken);

    public Task OnConnectAsync(ConnectContext context, FilterDelegate<ConnectContext> next) => RunAsync(Stage.Connect, context, next);

    public Task OnMessageAsync(MessageContext context, FilterDelegate<MessageContext> next) => RunAsync(Stage.Message, context, next);

    public Task OnDisconnectAsync(DisconnectContext context, FilterDelegate<DisconnectContext> next) => RunAsync(Stage.Disconnect, context, next);

    public void Release()
    {
        _released.TrySetResult();
        _threadReleased.Set();
    }

    public void Dispose()
    {
        Release();
        // Wait until the filter has returned. Otherwise, the thread of the filter could use a disposed event.
        if (_entered.Task.IsCompleted) _left.Task.Wait(Eventually.Patience);
        _threadReleased.Dispose();
    }

    async Task RunAsync<TContext>(Stage now, TContext context, FilterDelegate<TContext> next) where TContext : FilterContext
    {
        if (now == stage && context.Connection.UserId == "it")
        {
            _entered.TrySetResult();
            try
            {
                switch (blocking)
                {
                    case Blocking.Task:
                        await _released.Task;
                        break;
                    case Blocking.Thread:
                        _threadReleased.Wait(CancellationToken.None);
                        break;
                    default:
                        await _released.Task.WaitAsync(context.Connection.ConnectionAborted);
                        break;
                }
            }
            finally
            {
                _left.TrySetResult();
            }
        }

        await next(context);
    }
}
