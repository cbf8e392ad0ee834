namespace Broadcast.Redis.Benchmarks;

/// <summary>Sends messages from one publisher to one receiver in each group.</summary>
abstract class MessagePath(string name, int groups) : IAsyncDisposable
{
    readonly bool[] _isReady = new bool[groups];

    public string Name => name;

    public int Groups => groups;

    /// <summary>The delegate that receives the timestamp of each received message.</summary>
    public Action<long> Received { get; set; } = static _ => { };

    public abstract ValueTask PublishAsync(int group, long stamp);

    public abstract ValueTask DisposeAsync();

    /// <summary>
    /// Publishes probe messages until each group delivers messages. Probe messages have the timestamp 0. Some probe
    /// messages may arrive after this method has ended.
    /// </summary>
    protected async Task ProbeAsync()
    {
        for (var group = 0; group < groups; group++)
        {
            while (!Volatile.Read(ref _isReady[group]))
            {
                await PublishAsync(group, 0);
                await Task.Delay(20);
            }
        }
    }

    protected void Receive(int group, long stamp)
    {
        if (stamp == 0) Volatile.Write(ref _isReady[group], true);
        else Received(stamp);
    }
}
