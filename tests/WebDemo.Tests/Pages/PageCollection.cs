namespace WebDemo.Tests;

/// <summary>
/// The test classes of this collection run one after the other, and share one server. So they can count the open pages, use the
/// load page, or publish to all connections.
/// </summary>
/// <remarks>The classes use different rooms, because a room has a history.</remarks>
[CollectionDefinition]
public sealed class PageCollection : ICollectionFixture<DemoServer>;
