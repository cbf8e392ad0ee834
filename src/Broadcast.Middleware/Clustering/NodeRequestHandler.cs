using Broadcast.Middleware.Connections;
using Broadcast.Middleware.Presence;
using Broadcast.Middleware.Publishing;

namespace Broadcast.Middleware.Clustering;

/// <summary>Handles the requests of other nodes.</summary>
/// <param name="remote">Sends the answers.</param>
/// <param name="router">Delivers messages and commands on this node.</param>
/// <param name="connections">The connections of this node.</param>
/// <param name="presence">The states of the members of this node.</param>
sealed class NodeRequestHandler(
    RemoteConnections remote, LocalRouter router, ConnectionManager connections, GroupPresence presence)
{
    /// <exception cref="InvalidDataException">The message cannot be read.</exception>
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
            default:
                // A join may wait for the backplane, and the backplane waits for this method.
                _ = BackgroundWork.Run(() => AnswerAsync(message));
                break;
        }
    }

    void Deliver(ReadOnlyMemory<byte> message, Recipients recipients)
    {
        var received = ClusterMessage.Decode(message);
        router.SendToConnections(received.Message, recipients.Except(received.Excluded));
    }

    async Task AnswerAsync(NodeMessage request)
    {
        var (result, problem, isUnreachable) = (default(JoinResult), default(string), false);
        try
        {
            result = await HandleAsync(request);
        }
        catch (Exception exception)
        {
            (problem, isUnreachable) = (exception.Message, exception is BackplaneException);
        }

        var answer = new NodeAnswer(
            request.Id,
            remote.Node,
            request.Target,
            result.Joined,
            result.Recovered,
            result.Position,
            problem,
            isUnreachable);
        await remote.AnswerAsync(request.From, answer);
    }

    async ValueTask<JoinResult> HandleAsync(NodeMessage request) => request switch
    {
        JoinGroup join => await router.JoinAsync(join.Target, join.Group, join.Replay, CancellationToken.None),
        LeaveGroup leave => ToResult(await router.LeaveAsync(leave.Target, leave.Group, CancellationToken.None)),
        CloseConnection close =>
            ToResult(await router.CloseAsync(close.Target, close.Status, close.Reason, CancellationToken.None)),
        SetGroupState set => ToResult(SetState(set)),
        _ => throw new InvalidOperationException(
            "The node of the connection does not know this request. Run the same package version on all nodes."),
    };

    bool SetState(SetGroupState request) => connections.Find(request.Target) is { } connection
        && presence.SetState(connection, request.Group, request.State.ToArray());

    static JoinResult ToResult(bool succeeded) => new(succeeded, null, null);
}
