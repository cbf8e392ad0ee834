using System.Net.Sockets;
using Broadcast.Middleware;
using Broadcast.Middleware.Transports;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Connections.Features;

namespace Microsoft.AspNetCore.Hosting;

/// <summary>Changes how a server sends data to its clients.</summary>
public static class BroadcastConnectionBuilderExtensions
{
    /// <summary>
    /// Sends data on the thread that writes the data, not on another thread. Inline sends reduce CPU use and tail
    /// latency when a message has many recipients.
    /// </summary>
    /// <param name="builder">
    /// The endpoint that the server listens on. Call this method before <c>UseHttps</c> and before other middleware
    /// that changes the data.
    /// </param>
    /// <remarks>
    /// By default, an app with a broadcast sends inline at all endpoints: see
    /// <see cref="BroadcastServerOptions.SendsInline"/>. The method then has no effect.
    /// If the socket does not accept all data at once, the server sends the rest later. The method supports HTTP/1.1,
    /// HTTP/2 and TLS. The method has no effect on transports without sockets. To configure all endpoints, call
    /// <c>builder.WebHost.ConfigureKestrel(kestrel => kestrel.ConfigureEndpointDefaults(listen =>
    /// listen.UseInlineSends()))</c>.
    /// </remarks>
    public static TBuilder UseInlineSends<TBuilder>(this TBuilder builder) where TBuilder : IConnectionBuilder
    {
        ArgumentNullException.ThrowIfNull(builder);
        builder.Use(static next => connection => connection.Features.Get<IConnectionSocketFeature>() is { } feature
            ? SendInline(connection, feature.Socket, next)
            : next(connection));
        return builder;
    }

    static Task SendInline(ConnectionContext connection, Socket socket, ConnectionDelegate next)
    {
        if (connection.Features.Get<ITlsHandshakeFeature>() is not null)
        {
            throw new InvalidOperationException(
                "UseInlineSends() comes after UseHttps(), so the server would send unencrypted data. " +
                "Call UseInlineSends() before UseHttps().");
        }

        if (connection.Features.Get<HandoverConnection>() is { SendsInline: true }) return next(connection);
        var writer = InlineWriter.Create(connection, socket);
        connection.Transport = writer;
        return ServeAsync(next(connection), writer);
    }

    static async Task ServeAsync(Task serving, InlineWriter writer)
    {
        try
        {
            await serving;
        }
        finally
        {
            await writer.FinishAsync();
        }
    }
}
