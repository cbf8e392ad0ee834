using System.Collections.Concurrent;
using System.Diagnostics;

namespace Broadcast.Middleware.Contracts;

/// <summary>
/// Records the spans of one broadcast. The broadcast must have the name <see cref="Name"/>, so that the recorder ignores
/// the broadcasts of other tests, which run in parallel.
/// </summary>
sealed class SpanRecorder : IDisposable
{
    readonly ConcurrentQueue<Activity> _spans = [];
    readonly ActivityListener _listener;
    readonly ActivitySource _callers;

    /// <param name="sampling">The result of the sampler.</param>
    public SpanRecorder(ActivitySamplingResult sampling = ActivitySamplingResult.AllDataAndRecorded)
    {
        _listener = new ActivityListener
        {
            ShouldListenTo = source => source.Name == $"Callers of {Name}" || source.Name == "Microsoft.AspNetCore"
                || (source.Name == "Broadcast" && source.Tags?.Contains(new("broadcast.name", Name)) is true),
            Sample = (ref ActivityCreationOptions<ActivityContext> options) =>
                options.Source.Name == "Broadcast" ? sampling : ActivitySamplingResult.AllDataAndRecorded,
            ActivityStopped = span =>
            {
                if (span.Source.Name == "Broadcast") _spans.Enqueue(span);
            },
        };
        ActivitySource.AddActivityListener(_listener);
        _callers = new ActivitySource($"Callers of {Name}");
    }

    /// <summary>The name of the broadcast.</summary>
    public string Name { get; } = $"{Guid.NewGuid():N}";

    /// <summary>The completed spans.</summary>
    public Activity[] Spans => [.. _spans];

    /// <summary>Starts the span of a caller, such as a request of the app. The span ends when the test disposes it.</summary>
    public Activity StartCaller() => _callers.StartActivity("caller")!;

    /// <summary>Waits for at least this number of completed spans with this operation name. Returns all such spans.</summary>
    public async Task<Activity[]> WaitForAsync(int count, string operation)
    {
        await Listener.EventuallyAsync(
            () => new(Find(operation).Length >= count), TimeSpan.FromSeconds(60), $"{count} spans of the operation {operation}");
        return Find(operation);
    }

    public void Dispose()
    {
        _listener.Dispose();
        _callers.Dispose();
    }

    Activity[] Find(string operation) => [.. _spans.Where(span => Equals(span.GetTagItem("messaging.operation.name"), operation))];
}
