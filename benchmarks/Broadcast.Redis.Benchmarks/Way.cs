namespace Broadcast.Redis.Benchmarks;

/// <summary>A way for messages from who publishes them to who gets them, through any of some groups.</summary>
abstract class Way(string name, int groups) : IAsyncDisposable
{
    readonly bool[] _heard = new bool[groups];

    public string Name => name;

    public int Groups => groups;

    /// <summary>Is given the timestamp of each message that comes.</summary>
    public Action<long> Received { get; set; } = static _ => { };

    public abstract ValueTask PublishAsync(int group, long stamp);

    public abstract ValueTask DisposeAsync();

    /// <summary>Ends when messages come through each group. Some of those that were sent for it may still come; they have 0 as their timestamp.</summary>
    protected async Task ProbeAsync()
    {
        for (var group = 0; group < groups; group++)
        {
            while (!Volatile.Read(ref _heard[group]))
            {
                await PublishAsync(group, 0);
                await Task.Delay(20);
            }
        }
    }

    protected void Receive(int group, long stamp)
    {
        if (stamp == 0) Volatile.Write(ref _heard[group], true);
        else Received(stamp);
    }
}
