namespace Broadcast.Middleware.Tests.Properties;

/// <summary>The parts of a broadcast that tests without an app use.</summary>
sealed class TestBroadcaster(BroadcastInstance instance, BroadcastOptions options) : IDisposable
{
    public BroadcastInstance Instance => instance;

    public BroadcastOptions Options => options;

    public IBroadcaster Public => instance.Broadcaster;

    public IConnectionRegistry Connections => instance.Broadcaster.Connections;

    public ConnectionManager Manager => instance.Connections;

    public GroupDirectory Groups => instance.Groups;

    public IPresence Presence => instance.Presence;

    public SequenceClock Clock => instance.Clock;

    public ClusterReceiver? Cluster => instance.Cluster;

    public PublishResult Publish(Message message, Recipients recipients)
    {
        var publishing = instance.Router.PublishAsync(message, recipients, CancellationToken.None);
        Assert.True(publishing.IsCompletedSuccessfully);
        return publishing.Result;
    }

    public ValueTask<PublishResult> PublishAsync(
        Message message, Recipients recipients = default, CancellationToken cancellationToken = default) =>
        Public.PublishAsync(message, recipients, cancellationToken);

    public ValueTask<JoinResult> AttachAsync(Connection connection, Replay replay = default) =>
        instance.Connections.OpenAsync(connection, replay);

    public void Remove(Connection connection) => instance.Connections.Remove(connection);

    public void Dispose() => instance.Dispose();
}
