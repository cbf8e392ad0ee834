namespace Broadcast.Middleware;

/// <summary>
/// The limits and times of a broadcast. They are checked when the app starts, all errors in one message.
/// </summary>
public sealed class BroadcastOptions
{
    /// <summary>
    /// The largest message a client may send, in bytes, all its fragments together; a client that exceeds it is closed
    /// with 1009. Default 65,536. Range 1 to 1,073,741,824 (1 GiB).
    /// </summary>
    public int MaxMessageBytes { get; set; } = 64 * 1024;

    /// <summary>
    /// How many pieces of under 64 bytes a client's message may arrive in, empty fragments included, before the client
    /// is closed with 1009: fragments cost the server far more than they cost the sender. Default 1,024. Range 1 to
    /// 1,048,576.
    /// </summary>
    public int MaxSmallFragments { get; set; } = 1024;

    /// <summary>
    /// How many messages a connection may send, per second on average; one that exceeds it is closed with 1008. Default
    /// null: any number. Range 1 to 1,000,000.
    /// </summary>
    public int? MaxMessagesPerSecond { get; set; }

    /// <summary>
    /// How many messages a connection may send at once after a pause, where <see cref="MaxMessagesPerSecond"/> is set.
    /// Default null: as many as in one second. Range 1 to 1,000,000.
    /// </summary>
    public int? MaxMessageBurst { get; set; }

    /// <summary>
    /// How long a connection may take to send its first message before it is closed with 1008: for protocols in which a
    /// client has to say who it is. Default <see cref="Timeout.InfiniteTimeSpan"/>: it may only listen. Range 1 second
    /// to 1 day.
    /// </summary>
    public TimeSpan FirstMessageTimeout { get; set; } = Timeout.InfiniteTimeSpan;

    /// <summary>
    /// How many connections there may be on this node; more are refused with 503, before the handshake is answered.
    /// Default null: any number. Range 1 and up.
    /// </summary>
    public int? MaxConnections { get; set; }

    /// <summary>
    /// How many connections a user may have on this node; more are refused with 429. The anonymous are not counted.
    /// Default null: any number. Range 1 and up.
    /// </summary>
    public int? MaxConnectionsPerUser { get; set; }

    /// <summary>
    /// How many connections may come from one IPv4 address, or one IPv6 network of 64 bits, to this node; more are
    /// refused with 429. Behind a proxy, the app's forwarded headers middleware has to find out the client's address;
    /// nothing else is believed. Default null: any number. Range 1 and up.
    /// </summary>
    public int? MaxConnectionsPerAddress { get; set; }

    /// <summary>
    /// The origins whose pages may connect, as browsers send them (RFC 6454, section 7): <c>https://example.com</c>. An
    /// international host may be written either way, <c>bücher.example</c> or <c>xn--bcher-kva.example</c>. Pages of
    /// the request's own host always may, clients that send no origin too; all others are refused with 403. <c>*</c>
    /// lets every page in. Default empty.
    /// </summary>
    public IList<string> AllowedOrigins { get; } = [];

    /// <summary>
    /// How many bytes of messages are kept, for each group, for connections that have not taken them yet; what becomes
    /// of one that falls further behind, <see cref="SlowConsumer"/> says. Each message counts with its frame and 32
    /// bytes, for those it excludes too. It bounds the memory that slow readers cost, and the largest message that can
    /// be published. Default 1,048,576 (1 MiB). Range 1,024 to 1,073,741,824 (1 GiB), and not below
    /// <see cref="MaxMessageBytes"/>.
    /// </summary>
    public int MaxBacklogBytes { get; set; } = 1024 * 1024;

    /// <summary>
    /// What becomes of a connection that falls too far behind. Default <see cref="SlowConsumer.Disconnect"/>.
    /// </summary>
    public SlowConsumer SlowConsumer { get; set; }

    /// <summary>
    /// Settings of single groups: the key is a group's name, or the beginning of names followed by <c>*</c>, as in
    /// <c>/rooms/*</c>. Of those that fit a group, the longest counts, a name before a beginning. Default empty: no
    /// history anywhere.
    /// </summary>
    public IDictionary<string, GroupOptions> Groups { get; } = new Dictionary<string, GroupOptions>(StringComparer.Ordinal);

    /// <summary>
    /// How many groups a connection may be in, its home group included, and to the states of how many it may subscribe,
    /// where its protocol has that. Default 128. Range 1 to 65,536.
    /// </summary>
    public int MaxGroupsPerConnection { get; set; } = 128;

    /// <summary>
    /// How many groups without members may keep their history; of more, those lose it that have been without members
    /// for the longest. With <see cref="GroupOptions.HistoryBytes"/> it bounds the memory of rooms that clients can
    /// make up. Default 1,000. Range 0 to 1,000,000.
    /// </summary>
    public int MaxEmptyGroups { get; set; } = 1000;

    /// <summary>
    /// The largest presence state a connection may have in a group, in bytes. Default 1,024. Range 0 to 65,536.
    /// </summary>
    public int MaxPresenceStateBytes { get; set; } = 1024;

    /// <summary>
    /// How long a connection whose line was lost waits for its client to come back, in protocols that can: until then
    /// it stays a member of its groups. Default 30 seconds, which is how long published clients try. Range 0 to 1 hour;
    /// 0 for not at all.
    /// </summary>
    public TimeSpan RecoveryTimeout { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>
    /// How many connections may wait so at once; of more, those lost last end at once. Default 10,000. Range 0 to
    /// 10,000,000.
    /// </summary>
    public int MaxDisconnectedSessions { get; set; } = 10_000;

    /// <summary>
    /// How many bytes of messages may wait for the acknowledgement of one client, in protocols that have them. They are
    /// positions in the groups' logs and no copies, so that clients of one group share the memory. A client for which
    /// more waits goes on, but cannot come back if its line is lost, until it has acknowledged what it was sent.
    /// Default 4,194,304 (4 MiB). Range 1,024 to 1,073,741,824 (1 GiB).
    /// </summary>
    public int MaxUnacknowledgedBytes { get; set; } = 4 * 1024 * 1024;

    /// <summary>The same in messages. Default 100,000. Range 1 to 10,000,000.</summary>
    public int MaxUnacknowledgedMessages { get; set; } = 100_000;

    /// <summary>
    /// The same in bytes for all clients together, as far as they do not share them. It is looked at where something is
    /// published: with more, a group that grows lets the oldest go. Default 268,435,456 (256 MiB). Range 1,024 to
    /// 1,099,511,627,776 (1 TiB).
    /// </summary>
    public long MaxTotalUnacknowledgedBytes { get; set; } = 256 * 1024 * 1024;

    /// <summary>
    /// How long a write to a connection may wait without progress before the connection is cut off. Progress is
    /// whatever the peer's system takes, so a reader may be as slow as it likes. That is known on Linux, over HTTP/1.1;
    /// elsewhere progress is the end of a write, of 64 KiB at most or one larger message. Default 10 seconds; it may be
    /// noticed half as long again later. Range 1 second to 1 day; <see cref="Timeout.InfiniteTimeSpan"/> to wait for
    /// ever.
    /// </summary>
    public TimeSpan SendTimeout { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>
    /// How often a connection that is silent is sent a ping (RFC 6455, section 5.5.2). Default 15 seconds. Range 1
    /// second to 1 day; <see cref="Timeout.InfiniteTimeSpan"/> for never.
    /// </summary>
    public TimeSpan KeepAliveInterval { get; set; } = TimeSpan.FromSeconds(15);

    /// <summary>
    /// How long the answer to a ping may take before the connection is cut off. Default 20 seconds. Range 1 second to 1
    /// day; <see cref="Timeout.InfiniteTimeSpan"/> to wait for ever.
    /// </summary>
    public TimeSpan KeepAliveTimeout { get; set; } = TimeSpan.FromSeconds(20);

    /// <summary>
    /// How long a connection that is being closed has to take what was published before and to answer the close frame,
    /// before it is cut off. Default 5 seconds. Range 10 milliseconds to 1 hour.
    /// </summary>
    public TimeSpan CloseTimeout { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>
    /// Whether a connection is closed, with 1008, when the authentication it came with expires, as cookies and bearer
    /// tokens do. Default true.
    /// </summary>
    public bool CloseOnAuthenticationExpiration { get; set; } = true;

    /// <summary>
    /// How often an <see cref="IConnectionRevalidator"/>, if there is one, is asked whether a connection may stay.
    /// Default 30 minutes. Range 1 second to 1 day; <see cref="Timeout.InfiniteTimeSpan"/> to ask only when
    /// authentication expires.
    /// </summary>
    public TimeSpan RevalidationInterval { get; set; } = TimeSpan.FromMinutes(30);

    /// <summary>
    /// How long an app that is about to end takes to say goodbye, with 1001, to all connections, spread so that they do
    /// not all connect to another node at once; what is left then is cut off. Keep it below the host's shutdown timeout
    /// (30 seconds by default). Default 10 seconds. Range 0 to 1 hour.
    /// </summary>
    public TimeSpan DrainTimeout { get; set; } = TimeSpan.FromSeconds(10);
}
