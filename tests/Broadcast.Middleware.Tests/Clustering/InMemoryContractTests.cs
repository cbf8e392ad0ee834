using Broadcast.Middleware.Contracts;

namespace Broadcast.Middleware.Tests.Clustering;

public sealed class InMemoryContractTests : BackplaneContract
{
    readonly InMemoryCluster _cluster = new();

    protected override ValueTask LoseDataAsync()
    {
        _cluster.Forget();
        return default;
    }

    protected override ValueTask CrashAsync(IBackplane node)
    {
        ((IDisposable)node).Dispose();
        return default;
    }

    protected override ValueTask<IBackplane> CreateNodeAsync() => new(_cluster.CreateNode());
}
