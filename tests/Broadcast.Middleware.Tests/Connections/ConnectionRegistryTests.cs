using Broadcast.Middleware.Contracts;

namespace Broadcast.Middleware.Tests.Connections;

/// <summary>
/// Tests the default registry. No other test runs in parallel, because the contract suite measures the heap, which all
/// tests share.
/// </summary>
[Collection(nameof(NotParallelCollection))]
public sealed class ConnectionRegistryTests : ConnectionRegistryContract
{
    protected override IConnectionRegistry Create() => new ConnectionRegistry();
}
