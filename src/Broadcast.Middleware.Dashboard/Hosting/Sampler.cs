using Broadcast.Middleware.Dashboard.Diagnostics;
using Broadcast.Middleware.Dashboard.Figures;
using Broadcast.Middleware.Dashboard.Requests;
using Broadcast.Middleware.Diagnostics;
using Broadcast.Middleware.Publishing;

namespace Broadcast.Middleware.Dashboard.Hosting;

/// <summary>
/// Publishes a sample to all viewers once per second, while at least one viewer is connected. A viewer is an open page.
/// A new viewer first receives the earlier samples.
/// </summary>
/// <param name="createReader">Starts a measurement.</param>
/// <param name="broadcaster">Publishes to the viewers.</param>
/// <param name="time">The time provider.</param>
/// <param name="logger">The logger.</param>
sealed class Sampler(
    Func<FigureReader> createReader, Broadcaster broadcaster, TimeProvider time, DashboardLogger logger)
{
    static readonly TimeSpan Interval = TimeSpan.FromSeconds(1);

    /// <summary>The number of seconds that the page plots.</summary>
    const int MaxSamples = 180;

    readonly Lock _gate = new();
    readonly Queue<Sample> _samples = new();
    bool _isRunning;
    int _viewers;

    /// <summary>Adds a viewer, and returns the earlier samples. The first viewer starts the measurement.</summary>
    public IReadOnlyList<Sample> AddViewer()
    {
        lock (_gate)
        {
            _viewers++;
            if (_isRunning) return [.. _samples];
            _isRunning = true;
            _samples.Clear();
            BackgroundWork.Post(RunAsync);
            return [];
        }
    }

    /// <summary>
    /// Removes a viewer: see <see cref="AddViewer"/>. Without viewers, the measurement stops at the next sample.
    /// </summary>
    public void RemoveViewer()
    {
        lock (_gate) _viewers--;
    }

    async Task RunAsync()
    {
        using var timer = new PeriodicTimer(Interval, time);
        var reader = TryCreateReader();
        try
        {
            while (await timer.WaitForNextTickAsync().ConfigureAwait(false) && !StopWithoutViewers())
            {
                if (reader is null) reader = TryCreateReader();
                else await SampleAsync(reader).ConfigureAwait(false);
            }
        }
        finally
        {
            reader?.Dispose();
        }
    }

    /// <summary>Starts a measurement. Returns null if the start fails.</summary>
    FigureReader? TryCreateReader()
    {
        try
        {
            return createReader();
        }
        catch (Exception exception)
        {
            logger.SamplingFailed(exception);
            return null;
        }
    }

    /// <summary>Returns true if the measurement must stop. A later viewer then starts another measurement.</summary>
    bool StopWithoutViewers()
    {
        lock (_gate)
        {
            if (_viewers == 0) _isRunning = false;
            return !_isRunning;
        }
    }

    async Task SampleAsync(FigureReader reader)
    {
        try
        {
            var sample = await reader.ReadAsync().ConfigureAwait(false);
            var message = Message.FromJson(sample, DashboardJson.Default.Sample);
            lock (_gate)
            {
                // The page lists the slow clients of the newest sample only. Without the older lists, the first message
                // to a viewer stays small.
                _samples.Enqueue(sample with { Slow = [] });
                if (_samples.Count > MaxSamples) _samples.Dequeue();
            }

            await broadcaster.PublishAsync(message, Recipients.Everyone, CancellationToken.None).ConfigureAwait(false);
        }
        catch (Exception exception)
        {
            logger.SamplingFailed(exception);
        }
    }
}
