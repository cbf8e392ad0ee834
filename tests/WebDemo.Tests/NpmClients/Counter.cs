namespace WebDemo.Tests;

/// <summary>A counter with a method that waits for a value.</summary>
sealed class Counter
{
    readonly List<(int Value, TaskCompletionSource Reached)> _waiters = [];
    int _value;

    public int Value => Volatile.Read(ref _value);

    public void Increment()
    {
        lock (_waiters)
        {
            _value++;
            foreach (var (_, reached) in _waiters.Where(waiter => waiter.Value <= _value)) reached.TrySetResult();
            _waiters.RemoveAll(waiter => waiter.Value <= _value);
        }
    }

    public Task WaitForAsync(int value)
    {
        lock (_waiters)
        {
            if (_value >= value) return Task.CompletedTask;
            var reached = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            _waiters.Add((value, reached));
            return reached.Task;
        }
    }
}
