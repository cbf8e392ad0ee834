using Broadcast.Middleware.Contracts;
using Broadcast.Middleware.Tests.Limits;

namespace Broadcast.Middleware.Tests;

/// <summary>Alone, since the suite measures the heap, which all tests share.</summary>
[Collection(nameof(Alone))]
public sealed class ConnectionRegistryTests : ConnectionRegistryContract
{
    protected override IConnectionRegistry Create() => new ConnectionRegistry();
}
