namespace WebDemo.Tests;

/// <summary>
/// The test classes of this collection run one after the other, and share one server. So they can count the connections of /ws,
/// or publish to all connections.
/// </summary>
/// <remarks>
/// The classes use different rooms, because a room has a history. No class connects a client of the reliable protocol, because
/// the server would still count this client after its end.
/// </remarks>
[CollectionDefinition]
public sealed class WsCollection : ICollectionFixture<DemoServer>;
