namespace Broadcast.Middleware.Tests.Support;

/// <summary>
/// Runs its test classes one at a time, while no other test runs in parallel. For example, these tests measure the
/// memory of the process or need all processors. <c>test.sh</c> runs these classes in their own process.
/// </summary>
[CollectionDefinition(nameof(NotParallelCollection), DisableParallelization = true)]
[Trait("Run", "Alone")]
public sealed class NotParallelCollection;
