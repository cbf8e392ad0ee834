namespace Broadcast.Middleware.Delivery;

/// <summary>The reasons of the close frames that the server sends by itself.</summary>
static class CloseReasons
{
    public const string TooSlow = "This client is too slow. The server has more unsent messages for it than it keeps.";

    public const string MessagesLost = "The cluster lost messages. Connect again.";

    public const string ClusterUnreachable = "The other nodes are unreachable. Try again later.";

    public const string Failed = "The server failed to handle this connection.";

    public const string ShuttingDown = "The server is shutting down.";

    public const string AuthenticationExpired = "The authentication has expired. Connect again.";

    public const string FirstMessageTimeout = "The first message did not arrive in time.";

    public const string Rejected = "The server rejected the connection.";
}
