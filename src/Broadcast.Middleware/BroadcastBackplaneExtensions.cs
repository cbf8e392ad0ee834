using Broadcast.Middleware;

namespace Microsoft.Extensions.DependencyInjection;

/// <summary>Makes a broadcast one of the nodes of a cluster.</summary>
public static class BroadcastBackplaneExtensions
{
    /// <summary>Joins the broadcasts that share a backplane. A broadcast has one at most; the last one that is added counts.</summary>
    /// <param name="builder">The broadcast.</param>
    /// <param name="create">Makes the node's own end of it, once.</param>
    public static IBroadcastBuilder AddBackplane(this IBroadcastBuilder builder, Func<IServiceProvider, IBackplane> create)
    {
        ArgumentNullException.ThrowIfNull(builder);
        ArgumentNullException.ThrowIfNull(create);
        if (builder.Name == Options.Options.DefaultName) builder.Services.AddSingleton(Create);
        else builder.Services.AddKeyedSingleton(builder.Name, (services, _) => Create(services));
        return builder;

        // Else it would be one node, without a word.
        IBackplane Create(IServiceProvider services) => create(services) ?? throw new InvalidOperationException("The backplane that was to be made for AddBackplane is null.");
    }

    /// <summary>Joins broadcasts within one process, such as the hosts of a test.</summary>
    /// <param name="builder">The broadcast.</param>
    /// <param name="cluster">What they share.</param>
    public static IBroadcastBuilder AddInMemoryCluster(this IBroadcastBuilder builder, InMemoryCluster cluster)
    {
        ArgumentNullException.ThrowIfNull(cluster);
        return builder.AddBackplane(_ => cluster.CreateNode());
    }
}
