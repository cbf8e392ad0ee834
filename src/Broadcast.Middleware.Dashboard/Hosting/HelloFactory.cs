using Broadcast.Middleware.Dashboard.Figures;
using Broadcast.Middleware.Dashboard.Requests;

namespace Broadcast.Middleware.Dashboard.Hosting;

/// <summary>
/// Creates the first message to a viewer. The message describes the broadcast and contains earlier samples.
/// </summary>
/// <param name="broadcastName">The name of the broadcast.</param>
/// <param name="maxBacklogBytes">See <see cref="BroadcastOptions.MaxBacklogBytes"/>.</param>
/// <param name="nodes">The nodes.</param>
sealed class HelloFactory(string broadcastName, int maxBacklogBytes, NodeList nodes)
{
    public Message Create(IReadOnlyList<Sample> samples) => Message.FromJson(
        new HelloReply
        {
            Broadcast = broadcastName,
            Node = nodes.OwnName,
            IsCluster = nodes.IsCluster,
            Version = PackageVersion.Text,
            MaxBacklogBytes = maxBacklogBytes,
            Samples = samples,
        },
        DashboardJson.Default.HelloReply);
}
