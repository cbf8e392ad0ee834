using System.Diagnostics.Tracing;

namespace Broadcast.Middleware.Tests.Support;

/// <summary>
/// Counts the bytes of the arrays that the shared array pools have created and not yet released. Some of these arrays are
/// in use. The pools keep the other arrays for a time, although nothing uses them.
/// </summary>
sealed class PooledBytes : EventListener
{
    long _bytes;

    public long Bytes => Volatile.Read(ref _bytes);

    protected override void OnEventSourceCreated(EventSource eventSource)
    {
        if (eventSource.Name == "System.Buffers.ArrayPoolEventSource") EnableEvents(eventSource, EventLevel.Informational);
    }

    protected override void OnEventWritten(EventWrittenEventArgs eventData)
    {
        // The second value of each of these events is the size of the array.
        if (eventData.EventName == "BufferAllocated") Interlocked.Add(ref _bytes, (int)eventData.Payload![1]!);
        else if (eventData.EventName is "BufferTrimmed" or "BufferDropped") Interlocked.Add(ref _bytes, -(int)eventData.Payload![1]!);
    }
}
