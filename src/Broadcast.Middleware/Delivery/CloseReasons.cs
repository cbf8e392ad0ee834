namespace Broadcast.Middleware.Delivery;

/// <summary>The reasons in close frames that the server sends without a close request of the app.</summary>
static class CloseReasons
{
    public const string TooSlow = "This client is too slow to receive its messages. Read faster, or connect again.";

    public const string MessagesLost = "The cluster lost messages. Connect again.";

    public const string ClusterUnreachable = "The other nodes are unreachable. Try again later.";

    public const string Failed = "The server failed to handle this connection.";

    public const string ShuttingDown = "The server is shutting down.";

    public const string AuthenticationExpired = "The authentication has expired. Connect again.";

    public const string ReadOnlyUrl = "This URL only shows members. Do not send messages.";

    public const string FirstMessageTimeout = "The client did not send its first message in time.";

    public const string MaxConnectionsPerUser =
        "You have reached the maximum number of connections per user. Close a connection first.";

    public const string Rejected = "The server rejected the connection.";
}
