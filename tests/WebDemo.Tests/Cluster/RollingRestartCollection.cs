namespace WebDemo.Tests;

/// <summary>Runs after all other tests, because a stopping node waits only a limited time for the requests that it has begun.</summary>
[CollectionDefinition(DisableParallelization = true)]
public sealed class RollingRestartCollection;
