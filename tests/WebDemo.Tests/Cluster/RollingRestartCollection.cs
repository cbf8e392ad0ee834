namespace WebDemo.Tests;

/// <summary>
/// Runs after all other tests, which could slow the nodes down. A stopping node waits only a limited time for its
/// pending requests.
/// </summary>
[CollectionDefinition(DisableParallelization = true)]
public sealed class RollingRestartCollection;
