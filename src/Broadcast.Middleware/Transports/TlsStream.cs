using System.Net.Security;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Core.Features;

namespace Broadcast.Middleware.Transports;

/// <summary>Finds the stream that encrypts the bytes of a connection of Kestrel.</summary>
/// <remarks>
/// After a WebSocket handshake, the library writes its frames to this stream. The upgraded stream of the request ends
/// at the same stream, but passes each write through several layers of Kestrel and copies the bytes into a pipe.
/// docs/internals/performance.md shows the cost.
/// </remarks>
static class TlsStream
{
    // Kestrel's pipe above the TLS stream is not public. If the pipe has another name in a later version of Kestrel,
    // the library writes to the upgraded stream, which is slower. TlsTests detects this case.
    const string PipeOfKestrel = "SslDuplexPipe";

    /// <summary>
    /// Finds the TLS stream of an HTTP/1.1 request. Returns null without TLS, and without inline sends. Also returns
    /// null if connection middleware has replaced the transport above TLS, as connection logging does.
    /// </summary>
    public static SslStream? Find(IFeatureCollection requestFeatures)
    {
        if (requestFeatures.Get<HandoverConnection>() is not { SendsInline: true }) return null;
        var pipe = requestFeatures.Get<IConnectionTransportFeature>()?.Transport.GetType();
        return pipe?.Name == PipeOfKestrel && pipe.Assembly == typeof(KestrelServerOptions).Assembly
            ? requestFeatures.Get<ISslStreamFeature>()?.SslStream
            : null;
    }
}
