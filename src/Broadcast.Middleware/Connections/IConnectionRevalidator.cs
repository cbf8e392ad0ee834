namespace Broadcast.Middleware;

/// <summary>
/// Decides whether a connection may stay open, for example after the app has revoked a permission or renewed the
/// authentication.
/// </summary>
/// <remarks>
/// Register the revalidator as a service. For a named broadcast, use the name as the key. The server calls the
/// revalidator every <see cref="BroadcastOptions.RevalidationInterval"/>, and when the authentication of a connection
/// expires.
/// </remarks>
public interface IConnectionRevalidator
{
    /// <summary>Returns true if the connection may stay open.</summary>
    /// <remarks>
    /// If the result is false, the server closes the connection with close code 1008. If the method throws, the server
    /// closes the connection with close code 1011.
    /// </remarks>
    /// <param name="connection">The connection.</param>
    /// <param name="cancellationToken">
    /// Canceled when the connection ends. A reconnect does not cancel the token.
    /// </param>
    ValueTask<bool> IsValidAsync(IBroadcastConnection connection, CancellationToken cancellationToken);
}
