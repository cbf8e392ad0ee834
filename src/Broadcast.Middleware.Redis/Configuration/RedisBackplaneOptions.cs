namespace Broadcast.Middleware;

/// <summary>Configures how the nodes of a broadcast communicate through Redis.</summary>
public sealed class RedisBackplaneOptions
{
    /// <summary>
    /// The connection string, in the format of StackExchange.Redis: <c>localhost:6379</c> or
    /// <c>a:6379,b:6379,password=…,ssl=true</c>. For one server, you can also use a URL:
    /// <c>redis://user:password@host:6379/0</c>, or <c>rediss://</c> for TLS. Errors and log messages do not contain
    /// the password. The backplane ignores this option if the app supplies its own connection.
    /// </summary>
    public string? Configuration { get; set; }

    /// <summary>
    /// The first part of the name of every key and channel. The prefix separates apps that share a Redis server. This
    /// option is required. Use the same prefix on all nodes of an app. The prefix has up to 100 characters: the letters
    /// A to Z and a to z, digits, and <c>. _ : -</c>.
    /// </summary>
    public string Prefix { get; set; } = "";

    /// <summary>
    /// The maximum time that a publish, a subscription or a member query waits for Redis. After this time, the
    /// operation fails with a <see cref="BackplaneException"/>. Default 5 seconds. Range 100 milliseconds to 1 hour.
    /// </summary>
    public TimeSpan PublishTimeout { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>
    /// The behavior of a publish while Redis is unreachable. Default <see cref="WhenUnreachable.Wait"/>.
    /// </summary>
    public WhenUnreachable WhenUnreachable { get; set; }

    /// <summary>
    /// The maximum number of bytes in the outbox. The outbox counts the payload of each message plus 64 bytes. If a
    /// message does not fit, the publish fails with a <see cref="BackplaneException"/>. Default 33,554,432 (32 MiB).
    /// Range 65,536 to 1,099,511,627,776 (1 TiB).
    /// </summary>
    public long MaxOutboxBytes { get; set; } = 32 * 1024 * 1024;

    /// <summary>
    /// The number of messages of each group that Redis keeps for nodes that have missed messages. This limit also
    /// applies to groups without a history. Default 10,000. Range 1 to 10,000,000.
    /// </summary>
    public int RepairMessages { get; set; } = 10_000;

    /// <summary>
    /// The number of bytes of each group that Redis keeps for nodes that have missed messages. The limit counts the
    /// payload of each message plus 32 bytes. Default 4,194,304 (4 MiB). Range 1,024 to 1,073,741,824 (1 GiB).
    /// </summary>
    public int RepairBytes { get; set; } = 4 * 1024 * 1024;

    /// <summary>
    /// The time for which Redis keeps a message for nodes that have missed messages. Default 1 minute. Range 10 seconds
    /// to 1 day.
    /// </summary>
    public TimeSpan RepairAge { get; set; } = TimeSpan.FromMinutes(1);

    /// <summary>
    /// The interval at which a node compares its last message of each group with Redis. This check finds messages that
    /// did not reach the node. Redis does not report such messages. Default 2 seconds. Range 100 milliseconds to 1
    /// minute.
    /// </summary>
    public TimeSpan CheckInterval { get; set; } = TimeSpan.FromSeconds(2);

    /// <summary>
    /// The time for which other nodes list the members of a node after the last heartbeat of the node. The backplane
    /// rounds the time up to whole seconds. Default 12 seconds. Range 3 seconds to 15 seconds.
    /// </summary>
    public TimeSpan NodeTimeout { get; set; } = TimeSpan.FromSeconds(12);
}
