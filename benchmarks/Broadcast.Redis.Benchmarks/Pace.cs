using System.Diagnostics;
using System.Runtime.InteropServices;

namespace Broadcast.Redis.Benchmarks;

/// <summary>
/// Calls a delegate at a fixed rate on a separate thread. A slow call does not reduce the rate of later calls.
/// </summary>
static class Pace
{
    /// <param name="rate">The number of calls per second.</param>
    /// <param name="count">The number of calls.</param>
    /// <param name="call">
    /// The delegate. Its argument is the later of two times: the time at which the call was due, and the time of the
    /// last wake-up of the thread. A latency from this time includes delays by earlier calls, but not late wake-ups by
    /// the system.
    /// </param>
    public static Task RunAsync(int rate, int count, Action<long> call) => Task.Factory.StartNew(
        () =>
        {
            var start = Stopwatch.GetTimestamp();
            var awake = start;
            for (var i = 0L; i < count; i++)
            {
                var due = start + (i * Stopwatch.Frequency / rate);
                if (Stopwatch.GetTimestamp() < due)
                {
                    SleepUntil(due);
                    awake = Stopwatch.GetTimestamp();
                }

                call(Math.Max(due, awake));
            }
        },
        CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);

    static void SleepUntil(long due)
    {
        const int Monotonic = 1, Absolute = 1;
        var nanoseconds = due * (1_000_000_000 / Stopwatch.Frequency);
        var time = new TimeSpec { Seconds = (nint)(nanoseconds / 1_000_000_000), Nanoseconds = (nint)(nanoseconds % 1_000_000_000) };
        _ = clock_nanosleep(Monotonic, Absolute, ref time, 0);
    }

    // Sleep through a system function, because Thread.Sleep has a resolution of one millisecond. On Linux, Stopwatch
    // reads the same clock as this function.
    [DllImport("libc")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    static extern int clock_nanosleep(int clock, int flags, ref TimeSpec request, nint remaining);

    struct TimeSpec
    {
        public nint Seconds;
        public nint Nanoseconds;
    }
}
