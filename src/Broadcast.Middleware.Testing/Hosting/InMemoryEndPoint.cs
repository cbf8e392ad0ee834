using System.Net;

namespace Broadcast.Middleware.Testing.Hosting;

/// <summary>The endpoint on which the server of a test host listens. The endpoint has no port.</summary>
sealed class InMemoryEndPoint : EndPoint
{
    public override string ToString() => "in-memory";
}
