using System.Net.Sockets;
using Broadcast.Middleware;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Connections.Features;

namespace Microsoft.AspNetCore.Hosting;

/// <summary>Changes how a server's connections send.</summary>
public static class BroadcastConnectionBuilderExtensions
{
    /// <summary>
    /// Hands what is written to a connection to the operating system at once, on the thread that writes, in place of passing it to
    /// another: a message to many costs less processor time, and the last of them has it sooner. What a socket does not take at once is
    /// sent when it does. Nothing else changes, for whatever the server serves: HTTP/1.1, HTTP/2, TLS. Transports without sockets stay as
    /// they are.
    /// </summary>
    /// <param name="builder">The endpoint to listen on; the call comes before <c>UseHttps</c> and everything else that changes what is sent.</param>
    /// <remarks>
    /// For all endpoints: <c>builder.WebHost.ConfigureKestrel(kestrel => kestrel.ConfigureEndpointDefaults(listen => listen.UseInlineSends()))</c>.
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
                "UseInlineSends() was called after UseHttps(), and would send in the clear what is to be encrypted: call it before.");
        }

        try
        {
            socket.Blocking = false;
        }
        catch (ObjectDisposedException)
        {
            // The connection has been aborted already, which the writer will notice.
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
