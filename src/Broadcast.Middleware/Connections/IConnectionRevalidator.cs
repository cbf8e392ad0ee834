namespace Broadcast.Middleware;

/// <summary>
/// Decides whether a connection may stay: for permissions that were withdrawn, or authentication that can be renewed. Register one
/// (keyed by the broadcast's name, if it has one) and it is asked every <see cref="BroadcastOptions.RevalidationInterval"/>, and
/// when the authentication that the connection came with expires.
/// </summary>
public interface IConnectionRevalidator
{
    /// <summary>Whether the connection may stay. If not, it is closed with 1008; if this throws, with 1011.</summary>
    /// <param name="connection">The connection; its request's services can be used.</param>
    /// <param name="cancellationToken">The connection has ended in the meantime.</param>
    ValueTask<bool> IsValidAsync(IBroadcastConnection connection, CancellationToken cancellationToken);
}
