using System.Net.WebSockets;
using Broadcast.Middleware.Testing.Filters;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features.Authentication;

namespace Broadcast.Middleware.Testing;

/// <summary>
/// Runs a filter without an app. If the filter calls <c>next</c>, <see cref="Broadcaster"/> records the effect, for
/// example the publish of a message.
/// </summary>
/// <example>
/// <code>
/// var test = new FilterTest(new ShoutFilter());
/// await test.SendAsync("hello");
/// test.Broadcaster.AssertPublished("HELLO", Recipients.Group("/ws"));
/// </code>
/// </example>
/// <param name="filter">The filter.</param>
/// <param name="services">
/// The services of <see cref="FilterContext.Services"/>. Null if the filter uses no services.
/// </param>
public sealed class FilterTest(IBroadcastFilter filter, IServiceProvider? services = null)
{
    readonly IBroadcastFilter _filter = filter ?? throw new ArgumentNullException(nameof(filter));
    bool _hasEnded;

    /// <summary>The connection. Default: a new connection of an anonymous client at <c>/ws</c>.</summary>
    public TestConnection Connection { get; init; } = new();

    /// <summary>The broadcaster, which records the effects of the filter. Default: a new broadcaster.</summary>
    public RecordingBroadcaster Broadcaster { get; init; } = new();

    /// <summary>
    /// Connects the client. If the filter calls <c>next</c>, <see cref="Broadcaster"/> records the join of the home
    /// group with <see cref="ConnectContext.Replay"/> and <see cref="ConnectContext.Filter"/>.
    /// </summary>
    /// <param name="configure">
    /// Sets the query, the headers and other properties of the request. Null leaves the request unchanged.
    /// </param>
    /// <param name="messages">The texts that <see cref="ConnectContext.ReceiveAsync"/> returns.</param>
    /// <returns>
    /// True if the filter called <c>next</c>. The connection is then in its home group. False if the filter refused the
    /// connection.
    /// </returns>
    public async Task<bool> ConnectAsync(Action<HttpContext>? configure = null, params IEnumerable<string> messages)
    {
        ArgumentNullException.ThrowIfNull(messages);
        ThrowIfEnded();
        var request = new DefaultHttpContext { RequestServices = services! };
        request.Features.Set<IHttpAuthenticationFeature>(new TestUserFeature(Connection));
        configure?.Invoke(request);
        var context = new ConnectContext(
            Connection, Broadcaster, request, services, messages.Select(Message.FromText));
        var isAdmitted = false;
        await _filter.OnConnectAsync(context, passed =>
        {
            isAdmitted = true;
            Broadcaster.Admit(Connection);
            Broadcaster.RecordJoin(Connection, passed.Replay, passed.Filter);
            passed.Result = new(true, null, null);
            return Task.CompletedTask;
        });
        return isAdmitted;
    }

    /// <summary>Sends a text message as the client.</summary>
    /// <param name="text">The text.</param>
    /// <returns>
    /// True if the filter called <c>next</c>. The broadcaster has then recorded the publish. False if the filter
    /// dropped the message.
    /// </returns>
    public Task<bool> SendAsync(string text) => SendAsync(Message.FromText(text));

    /// <summary>Sends a message as the client.</summary>
    /// <param name="message">The message.</param>
    /// <returns>
    /// True if the filter called <c>next</c>. The broadcaster has then recorded the publish. False if the filter
    /// dropped the message.
    /// </returns>
    public async Task<bool> SendAsync(Message message)
    {
        ThrowIfEnded();
        Broadcaster.Admit(Connection);
        var isPublished = false;
        await _filter.OnMessageAsync(new(Connection, Broadcaster, message, services), async passed =>
        {
            isPublished = true;
            passed.Result = await Broadcaster.PublishAsync(passed.Message, passed.Recipients);
        });
        return isPublished;
    }

    /// <summary>Sends an event as the client of a subprotocol.</summary>
    /// <param name="name">The name of the event: see <see cref="MessageContext.Event"/>.</param>
    /// <param name="message">The message.</param>
    /// <returns>True if the filter handled the event and did not call <c>next</c>.</returns>
    public async Task<bool> SendEventAsync(string name, Message message)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        ThrowIfEnded();
        Broadcaster.Admit(Connection);
        var isHandled = true;
        await _filter.OnMessageAsync(new(Connection, Broadcaster, message, services, name), _ =>
        {
            isHandled = false;
            return Task.CompletedTask;
        });
        return isHandled;
    }

    /// <summary>Ends the connection. The connection leaves all groups before the filter runs.</summary>
    /// <param name="status">The close code. Null if the client disconnected without a close frame.</param>
    /// <param name="exception">The error that ended the connection. Null without an error.</param>
    public Task DisconnectAsync(
        WebSocketCloseStatus? status = WebSocketCloseStatus.NormalClosure, Exception? exception = null)
    {
        ThrowIfEnded();
        _hasEnded = true;
        Broadcaster.Remove(Connection);
        Connection.Abort();
        return _filter.OnDisconnectAsync(
            new(Connection, Broadcaster, status, exception, services), static _ => Task.CompletedTask);
    }

    void ThrowIfEnded()
    {
        if (_hasEnded)
        {
            throw new InvalidOperationException(
                "The connection of this test has ended with DisconnectAsync. Create a new FilterTest.");
        }
    }
}
