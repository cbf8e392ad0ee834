using Broadcast.Middleware.Contracts;

namespace Broadcast.Middleware.Tests.Clustering;

public sealed class InMemoryContractTests : BackplaneContract
{
    readonly InMemoryCluster _cluster = new();

    protected override Func<ValueTask>? Forget => () =>
    {
        _cluster.Forget();
        return default;
    };

    protected override Func<IBackplane, ValueTask>? Crash => node =>
    {
        ((IDisposable)node).Dispose();
        return default;
    };

    protected override ValueTask<IBackplane> CreateNodeAsync() => new(_cluster.CreateNode());
}
