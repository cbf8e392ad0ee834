using System.Diagnostics;
using System.Runtime.InteropServices;

namespace Broadcast.Redis.Benchmarks;

/// <summary>Calls at a fixed rate, on a thread of its own, whether or not what it calls keeps up.</summary>
static class Pace
{
    /// <param name="rate">Calls a second.</param>
    /// <param name="count">How many.</param>
    /// <param name="call">
    /// Is given its timestamp: when it was due, or when the thread had last slept, whichever is later. So what a call has held up counts, and what the
    /// system has overslept does not.
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

    // Thread.Sleep knows nothing shorter than a millisecond; Stopwatch reads this clock on Linux.
    [DllImport("libc")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    static extern int clock_nanosleep(int clock, int flags, ref TimeSpec request, nint remaining);

    struct TimeSpec
    {
        public nint Seconds;
        public nint Nanoseconds;
    }
}
