using Broadcast.Middleware.Connections;
using Broadcast.Middleware.Diagnostics;

namespace Broadcast.Middleware.Clustering;

/// <summary>Receives messages from the backplane: messages of groups, and messages to the inbox of this node.</summary>
/// <param name="backplane">The backplane.</param>
/// <param name="groups">The groups of the cluster on this node.</param>
/// <param name="remote">Owns the inbox of this node.</param>
/// <param name="handler">Handles the messages to the inbox.</param>
/// <param name="connections">The connections of this node.</param>
/// <param name="logger">The logger.</param>
sealed class ClusterReceiver(
    IBackplane backplane,
    ClusterGroups groups,
    RemoteConnections remote,
    NodeRequestHandler handler,
    ConnectionManager connections,
    BroadcastLogger logger) : IBackplaneReceiver, IDisposable
{
    /// <inheritdoc cref="RemoteConnections.Node" />
    public string Node => remote.Node;

    /// <summary>Completes when other nodes can reach this node.</summary>
    public Task InboxOpening { get; private set; } = Task.CompletedTask;

    public void Start() => BackgroundWork.Start(() =>
    {
        backplane.Start(this);
        InboxOpening = remote.OpenInboxAsync();
    });

    public void OnMessage(string group, Position position, ReadOnlyMemory<byte> message)
    {
        if (group == remote.Inbox) OnInboxMessage(message);
        else groups.OnMessage(group, position, message);
    }

    public void OnTransientMessage(string group, Position after, ReadOnlyMemory<byte> message)
    {
        if (group == remote.Inbox) OnInboxMessage(message);
        else groups.OnTransientMessage(group, after, message);
    }

    public void OnLost(string group)
    {
        if (group == remote.Inbox) OnInboxLost();
        else groups.OnLost(group);
    }

    public void Dispose() => remote.End();

    void OnInboxMessage(ReadOnlyMemory<byte> message)
    {
        try
        {
            handler.OnMessage(message);
        }
        catch (InvalidDataException exception)
        {
            logger.ClusterMessageUnreadable(exception);
            _ = BackgroundWork.Run(connections.OnMessagesLost);
        }
        catch (Exception exception)
        {
            // For example, the registry threw an exception. The error must not affect the backplane or the next
            // message.
            logger.RemoteRequestFailed(exception);
        }
    }

    /// <summary>
    /// Closes all connections and reopens the inbox. Messages to single connections may be missing, and this node does
    /// not know the affected connections.
    /// </summary>
    void OnInboxLost()
    {
        logger.ClusterGroupLost();
        remote.OnInboxLost();
        // The caller may hold the lock of the backplane, so continue on another thread.
        var previous = InboxOpening;
        InboxOpening = BackgroundWork.Run(async () =>
        {
            connections.OnMessagesLost();
            await previous;
            await remote.OpenInboxAsync();
        });
    }
}
