namespace Broadcast.Packages.Tests;

/// <summary>The test classes that share the new projects.</summary>
[CollectionDefinition(nameof(NewProjectsCollection))]
public sealed class NewProjectsCollection : ICollectionFixture<NewProjects>;
