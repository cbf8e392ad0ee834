using Broadcast.Middleware.Contracts;

namespace Broadcast.Middleware.Tests;

public sealed class ConnectionRegistryTests : ConnectionRegistryContract
{
    protected override IConnectionRegistry Create() => new ConnectionRegistry();
}
