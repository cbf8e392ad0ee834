using System.Globalization;

namespace Broadcast.Middleware.Redis.Configuration;

/// <summary>The permitted range of one option of <see cref="RedisBackplaneOptions"/>.</summary>
/// <remarks>
/// The validator uses <see cref="All"/>. A test compares the documentation with <see cref="All"/>.
/// </remarks>
sealed class OptionRange
{
    readonly IComparable _min;
    readonly IComparable _max;
    readonly Func<RedisBackplaneOptions, IComparable> _read;

    OptionRange(string name, IComparable min, IComparable max, Func<RedisBackplaneOptions, IComparable> read) =>
        (Name, _min, _max, _read) = (name, min, max, read);

    public static IReadOnlyList<OptionRange> All { get; } =
    [
        Create(
            nameof(RedisBackplaneOptions.PublishTimeout), TimeSpan.FromMilliseconds(100), TimeSpan.FromHours(1),
            static options => options.PublishTimeout),
        Create(
            nameof(RedisBackplaneOptions.MaxOutboxBytes), 65_536L, 1_099_511_627_776L,
            static options => options.MaxOutboxBytes),
        Create(nameof(RedisBackplaneOptions.RepairMessages), 1, 10_000_000, static options => options.RepairMessages),
        Create(nameof(RedisBackplaneOptions.RepairBytes), 1024, 1_073_741_824, static options => options.RepairBytes),
        Create(
            nameof(RedisBackplaneOptions.RepairAge), TimeSpan.FromSeconds(10), TimeSpan.FromDays(1),
            static options => options.RepairAge),
        Create(
            nameof(RedisBackplaneOptions.CheckInterval), TimeSpan.FromMilliseconds(100), TimeSpan.FromMinutes(1),
            static options => options.CheckInterval),
        Create(
            nameof(RedisBackplaneOptions.NodeTimeout), TimeSpan.FromSeconds(3), TimeSpan.FromSeconds(15),
            static options => options.NodeTimeout),
    ];

    /// <summary>The name of the option.</summary>
    public string Name { get; }

    /// <summary>The smallest permitted value as readable text, for example "10 seconds" or "65,536".</summary>
    public string Min => Format(_min);

    /// <summary>The largest permitted value as readable text.</summary>
    public string Max => Format(_max);

    /// <summary>Returns the value of this option in <paramref name="options"/> as readable text.</summary>
    public string FormatValue(RedisBackplaneOptions options) => Format(_read(options));

    public bool Contains(RedisBackplaneOptions options)
    {
        var value = _read(options);
        return value.CompareTo(_min) >= 0 && value.CompareTo(_max) <= 0;
    }

    static OptionRange Create<T>(string name, T min, T max, Func<RedisBackplaneOptions, T> read)
        where T : struct, IComparable => new(name, min, max, options => read(options));

    static string Format(IComparable value) => value switch
    {
        TimeSpan time when time == TimeSpan.Zero => "0 seconds",
        TimeSpan time when time.Ticks % TimeSpan.TicksPerDay == 0 => Count(time.TotalDays, "day"),
        TimeSpan time when time.Ticks % TimeSpan.TicksPerHour == 0 => Count(time.TotalHours, "hour"),
        TimeSpan time when time.Ticks % TimeSpan.TicksPerMinute == 0 => Count(time.TotalMinutes, "minute"),
        TimeSpan time when time.Ticks % TimeSpan.TicksPerSecond == 0 => Count(time.TotalSeconds, "second"),
        TimeSpan time => Count(time.TotalMilliseconds, "millisecond"),
        IFormattable number => number.ToString("N0", CultureInfo.InvariantCulture),
        _ => throw new InvalidOperationException($"The type {value.GetType()} has no text format. Extend Format."),
    };

    static string Count(double count, string unit) =>
        string.Create(CultureInfo.InvariantCulture, $"{count} {unit}{(count == 1 ? "" : "s")}");
}
