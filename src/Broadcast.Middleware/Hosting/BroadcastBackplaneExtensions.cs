using Broadcast.Middleware;

namespace Microsoft.Extensions.DependencyInjection;

/// <summary>Makes a broadcast a node of a cluster.</summary>
public static class BroadcastBackplaneExtensions
{
    /// <summary>
    /// Joins the broadcasts that share a backplane. A broadcast has at most one backplane. The last call counts.
    /// </summary>
    /// <param name="builder">The broadcast.</param>
    /// <param name="create">Creates the backplane of this node. Called once.</param>
    public static IBroadcastBuilder AddBackplane(
        this IBroadcastBuilder builder, Func<IServiceProvider, IBackplane> create)
    {
        ArgumentNullException.ThrowIfNull(builder);
        ArgumentNullException.ThrowIfNull(create);
        if (builder.Name == Options.Options.DefaultName) builder.Services.AddSingleton(Create);
        else builder.Services.AddKeyedSingleton(builder.Name, (services, _) => Create(services));
        return builder;

        // With null, the broadcast would silently be a single node.
        IBackplane Create(IServiceProvider services) => create(services) ?? throw new InvalidOperationException(
            "The delegate passed to AddBackplane returned null. Return a backplane.");
    }

    /// <summary>Joins broadcasts within one process, such as the hosts of a test.</summary>
    /// <param name="builder">The broadcast.</param>
    /// <param name="cluster">The cluster that the broadcasts share.</param>
    public static IBroadcastBuilder AddInMemoryCluster(this IBroadcastBuilder builder, InMemoryCluster cluster)
    {
        ArgumentNullException.ThrowIfNull(cluster);
        return builder.AddBackplane(_ => cluster.CreateNode());
    }
}
