namespace Broadcast.Middleware;

/// <summary>
/// The limits and timeouts of a broadcast. The app checks the options when it starts and reports all errors in one
/// message.
/// </summary>
/// <remarks>
/// You can set some options separately for each URL: see <see cref="BroadcastEndpointOptions"/>. A configuration file
/// writes <see cref="Timeout.InfiniteTimeSpan"/> as <c>-00:00:00.001</c>.
/// </remarks>
public sealed class BroadcastOptions
{
    /// <summary>
    /// The maximum size of a message from a client, in bytes. The limit applies to the sum of all fragments of the
    /// message. If a client sends a larger message, the server closes the connection with close code 1009 (RFC 6455,
    /// section 7.4.1). The value must not exceed <see cref="MaxBacklogBytes"/>. Default: 65,536. Range: 1 to
    /// 1,073,741,824.
    /// </summary>
    public int MaxMessageBytes { get; set; } = 64 * 1024;

    /// <summary>
    /// The maximum number of small fragments in one message from a client. A fragment is small if it has less than 64
    /// bytes (RFC 6455, section 5.4). Small fragments cost the server more than the client. If a message has more small
    /// fragments, the server closes the connection with close code 1009. Default: 1,024. Range: 1 to 1,048,576.
    /// </summary>
    public int MaxSmallFragments { get; set; } = 1024;

    /// <summary>
    /// The maximum number of messages that a client may send per second, on average. If a client sends more messages,
    /// the server closes the connection with close code 1008 (RFC 6455, section 7.4.1). Null means no limit. Default:
    /// null. Range: 1 to 1,000,000.
    /// </summary>
    public int? MaxMessagesPerSecond { get; set; }

    /// <summary>
    /// The maximum number of messages that a client may send at once after a pause. The option needs
    /// <see cref="MaxMessagesPerSecond"/>. Null means the value of <see cref="MaxMessagesPerSecond"/>. Default: null.
    /// Range: 1 to 1,000,000.
    /// </summary>
    public int? MaxMessageBurst { get; set; }

    /// <summary>
    /// How long the server waits for the first message of a client. If no message arrives in time, the server closes
    /// the connection with close code 1008. Use the option if the first message identifies the client.
    /// The option does not apply to event streams, because their clients send no messages.
    /// <see cref="Timeout.InfiniteTimeSpan"/> means that a client need not send any message. Default:
    /// <see cref="Timeout.InfiniteTimeSpan"/>. Range: 1 second to 1 day, or <see cref="Timeout.InfiniteTimeSpan"/>.
    /// </summary>
    public TimeSpan FirstMessageTimeout { get; set; } = Timeout.InfiniteTimeSpan;

    /// <summary>
    /// The maximum number of connections of this node. The server refuses further WebSocket connections with status
    /// 503. The client of an event stream instead receives the event <c>close</c>, so that the browser tries again.
    /// Null means no limit. Default: null. Range: 1 to 2,147,483,647.
    /// </summary>
    public int? MaxConnections { get; set; }

    /// <summary>
    /// The maximum number of connections of one user to this node. The server refuses further connections with status
    /// 429. Anonymous clients do not count. Null means no limit. Default: null. Range: 1 to 2,147,483,647.
    /// </summary>
    public int? MaxConnectionsPerUser { get; set; }

    /// <summary>
    /// The maximum number of connections from one address to this node. The server refuses further connections with
    /// status 429. An address is an IPv4 address or an IPv6 network of 64 bits. Behind a proxy, add the forwarded
    /// headers middleware to your app. Otherwise, the server sees the address of the proxy as the address of all
    /// clients. Null means no limit. Default: null. Range: 1 to 2,147,483,647.
    /// </summary>
    public int? MaxConnectionsPerAddress { get; set; }

    /// <summary>
    /// The origins whose pages may connect. Write an origin in the form that browsers send (RFC 6454, section 7):
    /// <c>https://example.com</c>. The server refuses pages of other origins with status 403. The server also allows
    /// pages of the request's own host, and clients without an origin. Each of these two rules has one exception. If
    /// the request uses https, a page of the same host must also use https. The server refuses a request for an event
    /// stream if the browser reports a page of another site, but sends no origin. In the environment Development, the
    /// server also allows pages of loopback hosts. <c>https://*.example.com</c> allows all subdomains, but not
    /// <c>https://example.com</c>. <c>*</c> allows every page. You can write an international host in Unicode or in
    /// ASCII: <c>bücher.example</c> or <c>xn--bcher-kva.example</c>. Default: empty.
    /// </summary>
    public IList<string> AllowedOrigins { get; } = [];

    /// <summary>
    /// Decides whether the pages of an origin may connect if <see cref="AllowedOrigins"/> does not allow the origin.
    /// The parameter is the origin as the browser sent it, for example <c>https://example.com</c> or <c>null</c>. True
    /// allows the page. If the function throws, the request fails with status 500. A configuration file cannot set this
    /// option. Default: null.
    /// </summary>
    public Func<string, bool>? IsOriginAllowed { get; set; }

    /// <summary>
    /// The first part of the names of all groups that belong to URLs. With null, URLs with different hosts or path
    /// bases have different groups. The host is part of a name if <c>RequireHost</c> requires a host:
    /// <c>//a.example/ws</c>. The path base is part of a name if the request has a path base: <c>/tenant/ws</c>. The
    /// host and the path base are in lower case. With a text, all hosts and path bases share their groups: the text
    /// <c>shop</c> results in <c>shop/ws</c>. With an empty text, a name is the path: <c>/ws</c>. A text must be valid
    /// as a group name, and must not end with a slash. With a text, the names of these groups can start without a
    /// slash. An <see cref="IGroupAuthorizer"/> must consider such names. Default: null.
    /// </summary>
    public string? GroupScope { get; set; }

    /// <summary>
    /// The subprotocols that the server accepts (RFC 6455, section 1.9). The server does not change the messages of
    /// these subprotocols. A client that requests one of these subprotocols sends and receives text and bytes, like a
    /// client without a subprotocol. If a client requests only unknown subprotocols, the server refuses the handshake
    /// with status 400, because a browser would close the connection. An entry takes precedence over an
    /// <see cref="IBroadcastProtocol"/> with the same name. Default: empty.
    /// </summary>
    public IList<string> RawSubprotocols { get; } = [];

    /// <summary>
    /// True if a client may choose a <see cref="SubscriptionFilter"/>. For the group of its URL, a client uses the
    /// query parameter <c>filter</c>. In the JSON protocols, a client can also use the property <c>filter</c> of
    /// <c>joinGroup</c>. The client then receives only the messages that both its own filter and the filter of the app
    /// accept. False means that the server ignores the query parameter and refuses the property. Default: false.
    /// </summary>
    public bool AllowClientFilters { get; set; }

    /// <summary>
    /// The maximum number of bytes that a group keeps for slow clients. <see cref="SlowConsumer"/> selects what the
    /// server does with a client that exceeds this limit. The size of a message includes its frame and 32 additional
    /// bytes. A message counts even if the message excludes the client. The option limits the memory for slow clients
    /// and the size of a published message. Default: 1,048,576. Range: 1,024 to 1,073,741,824.
    /// </summary>
    public int MaxBacklogBytes { get; set; } = 1024 * 1024;

    /// <summary>
    /// Selects what the server does with a slow client, which is more than <see cref="MaxBacklogBytes"/> behind.
    /// Default: <see cref="SlowConsumer.Disconnect"/>.
    /// </summary>
    public SlowConsumer SlowConsumer { get; set; }

    /// <summary>
    /// The settings of single groups. A key is a group name, or a prefix that ends with <c>*</c>, for example
    /// <c>/rooms/*</c>. A full name takes precedence over a prefix. A longer prefix takes precedence over a shorter
    /// prefix. Default: empty, so no group has a history.
    /// </summary>
    public IDictionary<string, GroupOptions> Groups { get; } =
        new Dictionary<string, GroupOptions>(StringComparer.Ordinal);

    /// <summary>
    /// The maximum number of groups of one connection, including its home group. A group that the client has left also
    /// counts while a <see cref="SubscriptionFilter"/> of the app stays in effect. The option also limits the number of
    /// group states to which a connection can subscribe. Default: 128. Range: 1 to 65,536.
    /// </summary>
    public int MaxGroupsPerConnection { get; set; } = 128;

    /// <summary>
    /// The maximum number of empty groups that keep their history or their retained values. Above this limit, the
    /// server deletes the history and the retained values of the group that has been empty for the longest time.
    /// Together with <see cref="GroupOptions.HistoryBytes"/> and <see cref="GroupOptions.MaxRetainedBytes"/>, the
    /// option limits the memory of groups whose names clients choose. Default: 1,000. Range: 0 to 1,000,000.
    /// </summary>
    public int MaxEmptyGroups { get; set; } = 1000;

    /// <summary>
    /// The maximum size of the presence state of a connection in a group, in bytes. Default: 1,024. Range: 0 to 65,536.
    /// </summary>
    public int MaxPresenceStateBytes { get; set; } = 1024;

    /// <summary>
    /// How long the server remembers the <see cref="Message.Id"/> of a published message. During this time, a repeated
    /// publish with the same ID has no effect. Default: 5 minutes. Range: 1 second to 1 day.
    /// </summary>
    public TimeSpan MessageIdWindow { get; set; } = TimeSpan.FromMinutes(5);

    /// <summary>
    /// The maximum number of message IDs that this node remembers. Above this limit, the node forgets the oldest ID. A
    /// backplane may also remember the IDs of messages to groups and users: the Redis backplane does not limit the
    /// number of these IDs. Default: 100,000. Range: 1 to 10,000,000.
    /// </summary>
    public int MaxMessageIds { get; set; } = 100_000;

    /// <summary>
    /// How long a disconnected client can reconnect. The option needs a protocol that supports reconnects. During this
    /// time, the connection stays a member of its groups. 0 means that clients cannot reconnect. Microsoft's Web PubSub
    /// clients try to reconnect for 30 seconds. Default: 30 seconds. Range: 0 to 1 hour.
    /// </summary>
    public TimeSpan RecoveryTimeout { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>
    /// The maximum number of disconnected connections that wait until their clients reconnect. Above this limit, a
    /// connection ends as soon as its client is disconnected. Default: 10,000. Range: 0 to 10,000,000.
    /// </summary>
    public int MaxDisconnectedSessions { get; set; } = 10_000;

    /// <summary>
    /// The maximum number of sent bytes that one client has not acknowledged. The option needs a protocol with
    /// acknowledgements. The server does not copy these bytes for each client, so the clients of a group share the
    /// memory. A client with more unacknowledged bytes stays connected. However, the client cannot reconnect until it
    /// acknowledges messages. Default: 4,194,304. Range: 1,024 to 1,073,741,824.
    /// </summary>
    public int MaxUnacknowledgedBytes { get; set; } = 4 * 1024 * 1024;

    /// <summary>
    /// The maximum number of sent messages that one client has not acknowledged. A client with more unacknowledged
    /// messages stays connected. However, the client cannot reconnect until it acknowledges messages. Default: 100,000.
    /// Range: 1 to 10,000,000.
    /// </summary>
    public int MaxUnacknowledgedMessages { get; set; } = 100_000;

    /// <summary>
    /// The maximum number of unacknowledged bytes of all clients together. Bytes that several clients share count once.
    /// The server checks the limit when the log of a group grows. Above the limit, the group drops its oldest
    /// unacknowledged messages. Default: 268,435,456. Range: 1,024 to 1,099,511,627,776.
    /// </summary>
    public long MaxTotalUnacknowledgedBytes { get; set; } = 256 * 1024 * 1024;

    /// <summary>
    /// The payload size in bytes above which the server compresses a message. The server measures the size in the
    /// format of the client's protocol. Clients without compression (<c>permessage-deflate</c>, RFC 7692) receive
    /// uncompressed messages. The other clients may also compress their messages. The server compresses a message once
    /// for all clients with the same protocol, compression window and value of this option. The server sends a message
    /// uncompressed if compression does not make the message smaller, or if the message sets
    /// <see cref="Message.DisableCompression"/>. The server compresses neither the answers of a protocol nor event
    /// streams. A server with its own WebSocket implementation, such as the <c>TestServer</c> of ASP.NET Core, does not
    /// support compression. Null means no compression. Default: null. Range: 0 to 1,073,741,824.
    /// </summary>
    public int? CompressMessagesAbove { get; set; }

    /// <summary>
    /// How long a write to a client may stall. After this time, the server aborts the connection. On Linux and over
    /// HTTP/1.1, a write stalls while the operating system of the client accepts no bytes. A client may therefore read
    /// slowly. On other systems and over other HTTP versions, the server must complete a whole write within the
    /// timeout. Such a write contains at most 64 KiB, or one larger message. The abort may be late by up to half of the
    /// timeout. <see cref="Timeout.InfiniteTimeSpan"/> means no limit. Default: 10 seconds. Range: 1 second to 1 day,
    /// or <see cref="Timeout.InfiniteTimeSpan"/>.
    /// </summary>
    public TimeSpan SendTimeout { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>
    /// How long a client may be silent before the server sends a ping (RFC 6455, section 5.5.2).
    /// <see cref="Timeout.InfiniteTimeSpan"/> means no pings. Default: 15 seconds. Range: 1 second to 1 day, or
    /// <see cref="Timeout.InfiniteTimeSpan"/>.
    /// </summary>
    public TimeSpan KeepAliveInterval { get; set; } = TimeSpan.FromSeconds(15);

    /// <summary>
    /// How long the server waits for the answer to a ping (RFC 6455, section 5.5.3). If no answer arrives in time, the
    /// server aborts the connection. <see cref="Timeout.InfiniteTimeSpan"/> means no limit. Default: 20 seconds. Range:
    /// 1 second to 1 day, or <see cref="Timeout.InfiniteTimeSpan"/>.
    /// </summary>
    public TimeSpan KeepAliveTimeout { get; set; } = TimeSpan.FromSeconds(20);

    /// <summary>
    /// How long the server waits for the client when the server closes a connection. During this time, the client must
    /// receive earlier messages and answer the close frame (RFC 6455, section 7.1.2). Otherwise, the server aborts the
    /// connection. Default: 5 seconds. Range: 10 milliseconds to 1 hour.
    /// </summary>
    public TimeSpan CloseTimeout { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>
    /// A text that raw WebSocket clients receive every <see cref="HeartbeatInterval"/>. Clients of event streams
    /// receive the text as an event with the name <c>heartbeat</c>. A page cannot see pings, so the page needs a
    /// heartbeat message to notice a lost connection. The text has 1 to 1,024 characters and no control characters.
    /// Web PubSub clients do not receive the text. Null means no heartbeat messages. Default: null.
    /// </summary>
    public string? HeartbeatMessage { get; set; }

    /// <summary>
    /// The time between two heartbeat messages. Without a <see cref="HeartbeatMessage"/>, the option has no effect.
    /// Default: 15 seconds. Range: 1 second to 1 day.
    /// </summary>
    public TimeSpan HeartbeatInterval { get; set; } = TimeSpan.FromSeconds(15);

    /// <summary>
    /// How long a browser waits before it opens an event stream again. Null means that the browser decides. Chrome
    /// waits 3 seconds. Default: null. Range: 100 milliseconds to 1 hour.
    /// </summary>
    public TimeSpan? EventStreamRetryDelay { get; set; }

    /// <summary>
    /// True if the server closes a connection with close code 1008 when the authentication of the client expires.
    /// Cookies and bearer tokens can expire. Default: true.
    /// </summary>
    public bool CloseOnAuthenticationExpiration { get; set; } = true;

    /// <summary>
    /// The time between two checks of a connection by an <see cref="IConnectionRevalidator"/>. A reconnect does not
    /// postpone the next check. Without a revalidator, the option has no effect.
    /// <see cref="Timeout.InfiniteTimeSpan"/> means that the revalidator checks a connection only when its
    /// authentication expires. Default: 30 minutes. Range: 1 second to 1 day, or
    /// <see cref="Timeout.InfiniteTimeSpan"/>.
    /// </summary>
    public TimeSpan RevalidationInterval { get; set; } = TimeSpan.FromMinutes(30);

    /// <summary>
    /// How long the server may take to close its connections when the app shuts down. The close code is 1001 (RFC 6455,
    /// section 7.4.1). The server closes the connections in small steps, so that not all clients connect to another
    /// node at once. After this time, the server aborts the remaining connections. The value must be below the shutdown
    /// timeout of the host, which is 30 seconds by default. Default: 10 seconds. Range: 0 to 1 hour.
    /// </summary>
    public TimeSpan DrainTimeout { get; set; } = TimeSpan.FromSeconds(10);
}
