namespace Broadcast.Middleware.Tests.Support;

/// <summary>
/// Runs its test classes one at a time, while no other test runs in parallel. For example, these tests measure the
/// memory of the process or need all processors.
/// </summary>
[CollectionDefinition(nameof(NotParallelCollection), DisableParallelization = true)]
public sealed class NotParallelCollection;
