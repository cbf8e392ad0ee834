using Broadcast.Middleware.Connections;
using Microsoft.AspNetCore.Http;

namespace Broadcast.Middleware.Http;

/// <summary>The transport of a client that uses server-sent events: the response of the HTTP request.</summary>
sealed class EventStreamTransport(HttpContext context) : ConnectionTransport
{
    public override CancellationToken ClientGone => context.RequestAborted;

    protected override void AbortCore() => context.Abort();
}
