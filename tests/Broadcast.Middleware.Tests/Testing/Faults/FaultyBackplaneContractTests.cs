using Broadcast.Middleware.Contracts;

namespace Broadcast.Middleware.Tests.Testing.Faults;

/// <summary>
/// Tests that a <see cref="FaultyBackplane"/> without faults fulfills the contract of <see cref="IBackplane"/>.
/// </summary>
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
