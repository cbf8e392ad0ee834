namespace Broadcast.Middleware;

/// <summary>
/// Options for the connections of the Kestrel server. The options apply to all broadcasts of the app. To set an option,
/// call <c>services.Configure&lt;BroadcastServerOptions&gt;(options => …)</c>.
/// </summary>
/// <remarks>
/// The options apply to TCP sockets and Unix domain sockets. The options have no effect with other servers than
/// Kestrel. The options also have no effect if the app adds its own <c>IConnectionListenerFactory</c>, or calls
/// <c>UseSockets</c> after <c>AddBroadcast</c>.
/// </remarks>
public sealed class BroadcastServerOptions
{
    /// <summary>
    /// True if the HTTP request of a WebSocket ends after the handshake and the connect filters. An idle connection
    /// then needs about a quarter less memory. Default: true.
    /// </summary>
    /// <remarks>
    /// The request stays open over HTTP/2, over TLS, and behind connection middleware such as
    /// <c>UseConnectionLogging</c>. The request also stays open if the app sets
    /// <c>KestrelServerLimits.MaxConcurrentConnections</c> or
    /// <c>KestrelServerLimits.MaxConcurrentUpgradedConnections</c>, because Kestrel counts open requests.
    /// </remarks>
    public bool HandsOverConnections { get; set; } = true;

    /// <summary>
    /// True if the server sends data on the thread that writes the data, not on another thread. Inline sends reduce CPU
    /// use and tail latency when a message has many recipients. Default: true.
    /// </summary>
    /// <remarks>
    /// The option applies to all requests of the app. To enable inline sends only for some endpoints, set the option to
    /// false, and call <c>UseInlineSends</c> for these endpoints.
    /// <para>
    /// With this option, a WebSocket over TLS sends its frames directly to the TLS stream. So
    /// <c>KestrelServerLimits.MinResponseDataRate</c> does not apply to these frames.
    /// <see cref="BroadcastOptions.SendTimeout"/> ends the connection of a client that stops reading.
    /// </para>
    /// </remarks>
    public bool SendsInline { get; set; } = true;
}
