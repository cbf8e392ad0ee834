using Broadcast.Middleware.Connections;
using Microsoft.AspNetCore.Http;

namespace Broadcast.Middleware.Http;

/// <summary>The response of a request for server-sent events.</summary>
sealed class EventStreamTransport(HttpContext context) : ConnectionTransport
{
    public override CancellationToken ClientGone => context.RequestAborted;

    protected override void AbortCore() => context.Abort();
}
