using Broadcast.Middleware.Connections;
using Broadcast.Middleware.Filters;
using Microsoft.AspNetCore.Http;

namespace Broadcast.Middleware;

/// <summary>
/// The context of a connect filter. The handshake is complete, and the connection is not in its home group yet.
/// </summary>
/// <remarks>
/// To refuse the connection, do not call <c>next</c>. The server then closes the connection with 1008. To use another
/// code, call <see cref="FilterContext.Close"/>.
/// </remarks>
public sealed class ConnectContext : FilterContext
{
    /// <summary>Creates a context for a unit test of a filter.</summary>
    /// <param name="connection">The connection.</param>
    /// <param name="broadcaster">The broadcaster.</param>
    /// <param name="httpContext">The request.</param>
    /// <param name="services">The services. Null for the services of the request.</param>
    public ConnectContext(
        IBroadcastConnection connection,
        IBroadcaster broadcaster,
        HttpContext httpContext,
        IServiceProvider? services = null)
        : base(connection, broadcaster, services ?? httpContext?.RequestServices)
    {
        ArgumentNullException.ThrowIfNull(httpContext);
        HttpContext = httpContext;
    }

    internal ConnectContext(Connection connection, FilterActions actions, HttpContext httpContext, Replay replay)
        : base(connection, actions) => (HttpContext, Replay) = (httpContext, replay);

    /// <summary>
    /// The HTTP request, with headers and query. Do not use the request after the connect filters have run.
    /// </summary>
    public HttpContext HttpContext { get; }

    /// <summary>
    /// The history that the connection receives first. The default is <see cref="GroupOptions.ReplayOnJoin"/> of the
    /// group. For an event stream with a <c>Last-Event-ID</c>, the default is every message after that ID.
    /// </summary>
    public Replay Replay { get; set; }

    /// <summary>
    /// The result of the join of the home group. The result is available after <c>next</c> has completed.
    /// </summary>
    public JoinResult Result { get; internal set; }
}
