namespace Broadcast.Middleware;

/// <summary>How the nodes of a broadcast meet in Redis.</summary>
public sealed class RedisBackplaneOptions
{
    /// <summary>
    /// Where Redis is, and how to talk to it, as StackExchange.Redis understands it: <c>localhost:6379</c>, <c>a:6379,b:6379,password=…,ssl=true</c>.
    /// Not used when the app has handed over a connection of its own.
    /// </summary>
    public string? Configuration { get; set; }

    /// <summary>
    /// Begins the names of all keys and channels, so that apps that share a Redis hear nothing of each other. Required; the same on all nodes of an
    /// app. Up to 100 of the letters A to Z and a to z, digits, and <c>. _ : -</c>.
    /// </summary>
    public string Prefix { get; set; } = "";

    /// <summary>
    /// How long a publish, and whatever else needs an answer, waits for Redis before it fails with a <see cref="BackplaneException"/>. Default
    /// 5 seconds. Range 100 milliseconds to 1 hour.
    /// </summary>
    public TimeSpan PublishTimeout { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>What becomes of a publish while Redis cannot be reached. Default <see cref="WhenUnreachable.Wait"/>.</summary>
    public WhenUnreachable WhenUnreachable { get; set; }

    /// <summary>
    /// How many bytes of messages, each with 64 more, may wait to be published; one more fails with a <see cref="BackplaneException"/>. Default
    /// 33,554,432 (32 MiB). Range 65,536 to 1,099,511,627,776 (1 TiB).
    /// </summary>
    public long MaxOutboxBytes { get; set; } = 32 * 1024 * 1024;

    /// <summary>
    /// How many messages of each group Redis keeps for nodes that have to catch up, also where the group has no history. Default 10,000. Range 1 to
    /// 10,000,000.
    /// </summary>
    public int RepairMessages { get; set; } = 10_000;

    /// <summary>How many bytes of messages, each with 32 more. Default 4,194,304 (4 MiB). Range 1,024 to 1,073,741,824 (1 GiB).</summary>
    public int RepairBytes { get; set; } = 4 * 1024 * 1024;

    /// <summary>For how long. Default 1 minute. Range 10 seconds to 1 day.</summary>
    public TimeSpan RepairAge { get; set; } = TimeSpan.FromMinutes(1);

    /// <summary>
    /// How often a node asks whether it has the last message of each of its groups, for Redis does not say when it has dropped one. Default 2 seconds.
    /// Range 100 milliseconds to 1 minute.
    /// </summary>
    public TimeSpan CheckInterval { get; set; } = TimeSpan.FromSeconds(2);

    /// <summary>After how long without a sign of life a node's members count no more. Default 12 seconds. Range 3 to 15 seconds.</summary>
    public TimeSpan NodeTimeout { get; set; } = TimeSpan.FromSeconds(12);
}
