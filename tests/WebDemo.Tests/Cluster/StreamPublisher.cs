using System.Collections.Concurrent;

namespace WebDemo.Tests;

/// <summary>Publishes numbered messages, one at a time. Does not repeat a publish that fails.</summary>
/// <param name="name">The name of the publisher, which each message contains.</param>
/// <param name="publish">Publishes a text. Returns true if the server acknowledges the text.</param>
sealed class StreamPublisher(string name, Func<string, Task<bool>> publish)
{
    static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(Effort.Factor > 1 ? 10 : 20);

    public string Name => name;

    public ConcurrentQueue<(string Text, bool IsAcknowledged)> Published { get; } = [];

    public async Task PublishAsync(CancellationToken stop)
    {
        using var timer = new PeriodicTimer(Interval);
        try
        {
            while (await timer.WaitForNextTickAsync(stop))
            {
                var text = MessageStream.CreateText(name, Published.Count);
                Published.Enqueue((text, await publish(text)));
            }
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            // The test has stopped the publisher.
        }
    }
}
