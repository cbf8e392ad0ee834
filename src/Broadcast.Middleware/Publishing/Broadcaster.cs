using System.Net.WebSockets;
using System.Security.Claims;
using System.Text.Json;
using Broadcast.Middleware.Connections;
using Broadcast.Middleware.Delivery;
using Broadcast.Middleware.Diagnostics;
using Broadcast.Middleware.Messages;

namespace Broadcast.Middleware.Publishing;

/// <summary>
/// Implements <see cref="IBroadcaster"/>. Checks the arguments of each call, and then calls the message router.
/// </summary>
/// <param name="router">Delivers messages and commands.</param>
/// <param name="validator">Checks messages.</param>
/// <param name="readers">Opens readers of groups.</param>
/// <param name="registry">The connections of this node.</param>
/// <param name="userIds">Finds the IDs of users.</param>
/// <param name="serializerOptions">See <see cref="IBroadcaster.SerializerOptions"/>.</param>
/// <param name="tracing">Creates a span for each publish.</param>
sealed class Broadcaster(
    MessageRouter router,
    MessageValidator validator,
    GroupReaders readers,
    IConnectionRegistry registry,
    UserIds userIds,
    JsonSerializerOptions serializerOptions,
    BroadcastTracing tracing) : IBroadcaster
{
    public IConnectionRegistry Connections => registry;

    public JsonSerializerOptions SerializerOptions => serializerOptions;

    public ValueTask<PublishResult> PublishAsync(
        Message message, Recipients recipients, CancellationToken cancellationToken)
    {
        validator.ThrowIfInvalid(message);
        cancellationToken.ThrowIfCancellationRequested();
        return tracing.IsActive
            ? PublishInSpanAsync(message, recipients, cancellationToken)
            : router.PublishAsync(message, recipients, cancellationToken);
    }

    public IAsyncEnumerable<ReceivedMessage> ReadAsync(
        string group, ReadOptions? options, CancellationToken cancellationToken)
    {
        GroupName.ThrowIfInvalid(group);
        var whenSlow = options?.SlowConsumer ?? SlowConsumer.Disconnect;
        if (!Enum.IsDefined(whenSlow))
        {
            throw new ArgumentException(
                $"{nameof(SlowConsumer)} is {whenSlow}. Use a value of the enumeration.", nameof(options));
        }

        return new GroupMessages(readers, group, options?.Replay ?? default, whenSlow, cancellationToken);
    }

    public async ValueTask<bool> JoinAsync(string connectionId, string group, CancellationToken cancellationToken) =>
        (await JoinAsync(connectionId, group, default, cancellationToken)).Joined;

    public ValueTask<JoinResult> JoinAsync(
        string connectionId, string group, Replay replay, CancellationToken cancellationToken) =>
        JoinAsync(connectionId, group, replay, null, cancellationToken);

    public ValueTask<JoinResult> JoinAsync(
        string connectionId,
        string group,
        Replay replay,
        SubscriptionFilter? filter,
        CancellationToken cancellationToken)
    {
        ArgumentException.ThrowIfNullOrEmpty(connectionId);
        GroupName.ThrowIfInvalid(group);
        cancellationToken.ThrowIfCancellationRequested();
        return router.JoinAsync(connectionId, group, replay, filter, cancellationToken);
    }

    public ValueTask<bool> LeaveAsync(string connectionId, string group, CancellationToken cancellationToken)
    {
        ArgumentException.ThrowIfNullOrEmpty(connectionId);
        GroupName.ThrowIfInvalid(group);
        cancellationToken.ThrowIfCancellationRequested();
        return router.LeaveAsync(connectionId, group, cancellationToken);
    }

    public ValueTask<bool> CloseAsync(
        string connectionId, WebSocketCloseStatus status, string? reason, CancellationToken cancellationToken)
    {
        ArgumentException.ThrowIfNullOrEmpty(connectionId);
        CloseStatus.ThrowIfNotSendable(status, reason);
        cancellationToken.ThrowIfCancellationRequested();
        return router.CloseAsync(connectionId, status, reason, cancellationToken);
    }

    public ValueTask<bool> ExtendAuthenticationAsync(
        string connectionId, ClaimsPrincipal user, DateTimeOffset? expires, CancellationToken cancellationToken)
    {
        ArgumentException.ThrowIfNullOrEmpty(connectionId);
        ArgumentNullException.ThrowIfNull(user);
        if (user.Identity is not { IsAuthenticated: true })
        {
            throw new ArgumentException(
                "The user is not authenticated. Set the authentication type of its identity.", nameof(user));
        }

        if (userIds.Get(user) is not { } userId)
        {
            throw new ArgumentException(
                "The user has no ID. Add the claim 'sub' or ClaimTypes.NameIdentifier, or register an " +
                "IUserIdProvider that returns an ID for this user.",
                nameof(user));
        }

        cancellationToken.ThrowIfCancellationRequested();
        return router.ExtendAuthenticationAsync(new(connectionId, userId, null, user, expires), cancellationToken);
    }

    public ValueTask<bool> EndAuthenticationAsync(string connectionId, CancellationToken cancellationToken)
    {
        ArgumentException.ThrowIfNullOrEmpty(connectionId);
        cancellationToken.ThrowIfCancellationRequested();
        return router.EndAuthenticationAsync(connectionId, cancellationToken);
    }

    async ValueTask<PublishResult> PublishInSpanAsync(
        Message message, Recipients recipients, CancellationToken cancellationToken)
    {
        using var span = tracing.StartPublish(message.Payload.Length);
        if (span is not null) PublishSpan.SetRecipients(span, recipients, message.Id);
        try
        {
            var result = await router.PublishAsync(message, recipients, cancellationToken).ConfigureAwait(false);
            if (span is not null) PublishSpan.SetResult(span, result);
            return result;
        }
        catch (Exception exception)
        {
            BroadcastTracing.SetFailed(span, exception);
            throw;
        }
    }
}
