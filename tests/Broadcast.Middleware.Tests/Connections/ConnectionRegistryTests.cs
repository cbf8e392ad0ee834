using Broadcast.Middleware.Contracts;

namespace Broadcast.Middleware.Tests.Connections;

/// <summary>Alone, since the suite measures the heap, which all tests share.</summary>
[Collection(nameof(Alone))]
public sealed class ConnectionRegistryTests : ConnectionRegistryContract
{
    protected override IConnectionRegistry Create() => new ConnectionRegistry();
}
