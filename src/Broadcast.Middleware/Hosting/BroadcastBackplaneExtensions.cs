using Broadcast.Middleware;

namespace Microsoft.Extensions.DependencyInjection;

/// <summary>Adds a broadcast to a cluster.</summary>
public static class BroadcastBackplaneExtensions
{
    /// <summary>
    /// Connects this broadcast to all broadcasts that share the backplane. A broadcast has at most one backplane. If
    /// the app calls this method several times, the last call takes effect.
    /// </summary>
    /// <param name="builder">The broadcast.</param>
    /// <param name="create">Creates the backplane of this node. The service container calls this delegate once.</param>
    public static IBroadcastBuilder AddBackplane(
        this IBroadcastBuilder builder, Func<IServiceProvider, IBackplane> create)
    {
        ArgumentNullException.ThrowIfNull(builder);
        ArgumentNullException.ThrowIfNull(create);
        if (builder.Name == Options.Options.DefaultName) builder.Services.AddSingleton(Create);
        else builder.Services.AddKeyedSingleton(builder.Name, (services, _) => Create(services));
        return builder;

        // Reject null. Otherwise the broadcast would silently run as a single node.
        IBackplane Create(IServiceProvider services) => create(services) ?? throw new InvalidOperationException(
            "The delegate passed to AddBackplane returned null. Return a backplane.");
    }

    /// <summary>
    /// Connects broadcasts in one process, for example the broadcasts of several hosts in a test.
    /// </summary>
    /// <param name="builder">The broadcast.</param>
    /// <param name="cluster">The cluster that the broadcasts share.</param>
    public static IBroadcastBuilder AddInMemoryCluster(this IBroadcastBuilder builder, InMemoryCluster cluster)
    {
        ArgumentNullException.ThrowIfNull(cluster);
        return builder.AddBackplane(_ => cluster.CreateNode());
    }
}
