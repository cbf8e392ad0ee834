using Broadcast.Middleware.Contracts;

namespace Broadcast.Middleware.Tests.Testing;

/// <summary>Tests that a backplane of the test kit without a fault follows the rules of every backplane.</summary>
public sealed class FaultyBackplaneContractTests : BackplaneContract
{
    readonly InMemoryCluster _cluster = new();

    protected override ValueTask LoseDataAsync()
    {
        _cluster.Forget();
        return default;
    }

    protected override ValueTask CrashAsync(IBackplane node)
    {
        ((FaultyBackplane)node).Lose();
        return default;
    }

    protected override ValueTask<IBackplane> CreateNodeAsync() => new(new FaultyBackplane(_cluster.CreateNode()));
}
