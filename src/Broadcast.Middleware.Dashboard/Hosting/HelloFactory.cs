using Broadcast.Middleware.Dashboard.Figures;
using Broadcast.Middleware.Dashboard.Requests;

namespace Broadcast.Middleware.Dashboard.Hosting;

/// <summary>
/// Creates the first message to a viewer. The message describes the broadcast and contains earlier samples.
/// </summary>
/// <param name="broadcastName">The name of the broadcast.</param>
/// <param name="maxBacklogBytes">See <see cref="BroadcastOptions.MaxBacklogBytes"/>.</param>
/// <param name="nodeName">The name of this node.</param>
/// <param name="isCluster">True if the broadcast has a backplane.</param>
sealed class HelloFactory(string broadcastName, int maxBacklogBytes, string nodeName, bool isCluster)
{
    public Message Create(IReadOnlyList<Sample> samples) => Message.FromJson(
        new HelloReply
        {
            Broadcast = broadcastName,
            Node = nodeName,
            IsCluster = isCluster,
            Version = PackageVersion.Text,
            MaxBacklogBytes = maxBacklogBytes,
            Samples = samples,
        },
        DashboardJson.Default.HelloReply);
}
