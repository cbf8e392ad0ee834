namespace Broadcast.Middleware.Connections;

/// <summary>Finds the expiration of a cookie that another request may have renewed.</summary>
abstract class RenewableTicket
{
    /// <summary>Returns the newest expiration. Null if no request of this node has renewed the cookie.</summary>
    public abstract DateTimeOffset? GetRenewedExpiration();
}
