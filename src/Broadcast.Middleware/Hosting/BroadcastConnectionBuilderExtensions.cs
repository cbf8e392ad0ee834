using System.Net.Sockets;
using Broadcast.Middleware.Transports;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Connections.Features;

namespace Microsoft.AspNetCore.Hosting;

/// <summary>Changes how the connections of a server send.</summary>
public static class BroadcastConnectionBuilderExtensions
{
    /// <summary>
    /// Sends data to the operating system on the thread that writes, instead of another thread. Inline sends reduce CPU
    /// use and tail latency when a message has many recipients.
    /// </summary>
    /// <param name="builder">
    /// The endpoint to listen on. Call the method before <c>UseHttps</c> and before other middleware that changes the
    /// data.
    /// </param>
    /// <remarks>
    /// Data that the socket does not accept at once is sent when the socket accepts it. Everything that the server
    /// serves works as before: HTTP/1.1, HTTP/2, TLS. Transports without sockets are not changed. For all endpoints:
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
                "UseInlineSends() was called after UseHttps() and would send unencrypted data. " +
                "Call UseInlineSends() before UseHttps().");
        }

        try
        {
            socket.Blocking = false;
        }
        catch (ObjectDisposedException)
        {
            // The connection has been aborted already. The writer notices it.
        }

        var writer = new InlineWriter(connection, connection.Transport, socket);
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
