using Broadcast.Middleware.Connections;
using Broadcast.Middleware.Delivery;
using Broadcast.Middleware.Diagnostics;
using Broadcast.Middleware.Messages;
using Broadcast.Middleware.Presence;
using Broadcast.Middleware.Publishing;

namespace Broadcast.Middleware.Clustering;

/// <summary>Handles the messages, requests and answers of other nodes.</summary>
/// <param name="remote">Sends answers, and receives the answers to the requests of this node.</param>
/// <param name="router">Delivers messages and commands on this node.</param>
/// <param name="connections">The connections of this node.</param>
/// <param name="presence">Sets the states of members.</param>
/// <param name="tracing">Creates a span for each message that contains the <c>traceparent</c> of the publisher.</param>
sealed class NodeRequestHandler(
    RemoteConnections remote,
    LocalRouter router,
    ConnectionManager connections,
    GroupPresence presence,
    BroadcastTracing tracing)
{
    /// <exception cref="InvalidDataException">The message is invalid.</exception>
    public void OnMessage(ReadOnlyMemory<byte> bytes)
    {
        var message = NodeCodec.Decode(bytes.ToArray());
        switch (message)
        {
            case NodeAnswer answer:
                remote.OnAnswer(answer);
                break;
            case SendToConnection send:
                Deliver(send.Message, Recipients.Connection(send.Target));
                break;
            case SendToUser send:
                Deliver(send.Message, Recipients.User(send.Target));
                break;
            case SendToUserConnections send:
                Deliver(send.Message, Recipients.User(send.Target), send.Connections);
                break;
            default:
                // Answer on another thread. A join may wait for the backplane, and the backplane waits for this method.
                _ = BackgroundWork.Run(() => AnswerAsync(message));
                break;
        }
    }

    void Deliver(
        ReadOnlyMemory<byte> message, Recipients recipients, IReadOnlyCollection<string>? connectionIds = null)
    {
        var startTime = tracing.GetTime();
        var received = ClusterMessage.Decode(message);
        recipients = recipients.Except(received.Excluded);
        if (received.Message.Id is { } id)
            router.SendToConnectionsOnce(id, received.Message, recipients, connectionIds, out _);
        else router.SendToConnections(received.Message, recipients);
        if (received.TraceParent is { } publisher && tracing.IsActive) tracing.Delivered(publisher, null, startTime);
    }

    async Task AnswerAsync(NodeMessage request)
    {
        var (id, node, target) = (request.Id, remote.Node, request.Target);
        NodeAnswer answer;
        try
        {
            var result = await HandleAsync(request);
            answer = new(id, node, target, result.Joined, result.Recovered, result.Position, null, false);
        }
        catch (Exception exception)
        {
            answer = NodeAnswer.Failed(id, node, target, exception.Message, exception is BackplaneException);
        }

        await remote.AnswerAsync(request.From, answer);
    }

    async ValueTask<JoinResult> HandleAsync(NodeMessage request) => request switch
    {
        JoinGroup join => await JoinAsync(join),
        LeaveGroup leave => ToResult(await router.LeaveAsync(leave.Target, leave.Group, CancellationToken.None)),
        CloseConnection close => ToResult(await CloseAsync(close)),
        SetGroupState set => ToResult(SetState(set)),
        ExtendAuthentication extend =>
            ToResult(await router.ExtendAuthenticationAsync(extend.Extension, CancellationToken.None)),
        EndAuthentication end => ToResult(await router.EndAuthenticationAsync(end.Target, CancellationToken.None)),
        InvalidRequest invalid => throw new InvalidOperationException(invalid.Problem),
        _ => throw new InvalidOperationException(
            "The node of the connection does not know this request. Run the same package version on all nodes."),
    };

    ValueTask<JoinResult> JoinAsync(JoinGroup request)
    {
        GroupName.ThrowIfInvalid(request.Group);
        return router.JoinAsync(
            request.Target, request.Group, request.Replay, request.Filter, CancellationToken.None);
    }

    ValueTask<bool> CloseAsync(CloseConnection request)
    {
        CloseStatus.ThrowIfNotSendable(request.Status, request.Reason);
        return router.CloseAsync(request.Target, request.Status, request.Reason, CancellationToken.None);
    }

    bool SetState(SetGroupState request) => connections.Find(request.Target) is { } connection
        && presence.SetState(connection, request.Group, request.State.ToArray());

    static JoinResult ToResult(bool succeeded) => new(succeeded, null, null);
}
