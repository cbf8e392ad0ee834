using Broadcast.Middleware.Contracts;

namespace Broadcast.Middleware.Tests.Connections;

/// <summary>Runs alone, because the suite measures the heap that all tests share.</summary>
[Collection(nameof(NotParallelCollection))]
public sealed class ConnectionRegistryTests : ConnectionRegistryContract
{
    protected override IConnectionRegistry Create() => new ConnectionRegistry();
}
