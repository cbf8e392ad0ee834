namespace Broadcast.Middleware;

/// <summary>Configures how the nodes of a broadcast communicate through Redis.</summary>
public sealed class RedisBackplaneOptions
{
    /// <summary>
    /// The connection string, in the format of StackExchange.Redis: <c>localhost:6379</c> or
    /// <c>a:6379,b:6379,password=…,ssl=true</c>. Ignored if the app supplies its own connection.
    /// </summary>
    public string? Configuration { get; set; }

    /// <summary>
    /// The first part of the name of every key and channel. It separates apps that share a Redis server. Required. Use
    /// the same prefix on all nodes of an app. Up to 100 characters: the letters A to Z and a to z, digits, and
    /// <c>. _ : -</c>.
    /// </summary>
    public string Prefix { get; set; } = "";

    /// <summary>
    /// How long a publish, a subscription or a member query waits for Redis. After that, the operation fails with a
    /// <see cref="BackplaneException"/>. Default 5 seconds. Range 100 milliseconds to 1 hour.
    /// </summary>
    public TimeSpan PublishTimeout { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>
    /// What a publish does while Redis is unreachable. Default <see cref="WhenUnreachable.Wait"/>.
    /// </summary>
    public WhenUnreachable WhenUnreachable { get; set; }

    /// <summary>
    /// The maximum number of bytes in the outbox. Each message counts 64 bytes more than its payload. If a message does
    /// not fit, its publish fails with a <see cref="BackplaneException"/>. Default 33,554,432 (32 MiB). Range 65,536 to
    /// 1,099,511,627,776 (1 TiB).
    /// </summary>
    public long MaxOutboxBytes { get; set; } = 32 * 1024 * 1024;

    /// <summary>
    /// How many messages of each group Redis keeps for nodes that have missed messages. Also applies to groups without
    /// history. Default 10,000. Range 1 to 10,000,000.
    /// </summary>
    public int RepairMessages { get; set; } = 10_000;

    /// <summary>
    /// How many bytes of messages of each group Redis keeps for nodes that have missed messages. Each message counts 32
    /// bytes more than its payload. Default 4,194,304 (4 MiB). Range 1,024 to 1,073,741,824 (1 GiB).
    /// </summary>
    public int RepairBytes { get; set; } = 4 * 1024 * 1024;

    /// <summary>
    /// How long Redis keeps a message for nodes that have missed messages. Default 1 minute. Range 10 seconds to 1 day.
    /// </summary>
    public TimeSpan RepairAge { get; set; } = TimeSpan.FromMinutes(1);

    /// <summary>
    /// How often a node compares its last message of each group with Redis. The check finds messages that were lost on
    /// the way, because Redis does not report them. Default 2 seconds. Range 100 milliseconds to 1 minute.
    /// </summary>
    public TimeSpan CheckInterval { get; set; } = TimeSpan.FromSeconds(2);

    /// <summary>
    /// How long the members of a node remain listed after its last heartbeat. Default 12 seconds. Range 3 seconds to 15
    /// seconds.
    /// </summary>
    public TimeSpan NodeTimeout { get; set; } = TimeSpan.FromSeconds(12);
}
