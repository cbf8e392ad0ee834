namespace Broadcast.Middleware.Tests.Support;

/// <summary>Runs its test classes while no other test runs in parallel.</summary>
[CollectionDefinition(nameof(NotParallelCollection), DisableParallelization = true)]
public sealed class NotParallelCollection;
