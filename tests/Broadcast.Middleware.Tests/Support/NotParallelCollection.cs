namespace Broadcast.Middleware.Tests.Support;

/// <summary>
/// Runs its test classes one at a time, for example because they measure the memory of the process or need all
/// processors. test.sh gives these classes their own process, in parallel with the other tests.
/// </summary>
[CollectionDefinition(nameof(NotParallelCollection), DisableParallelization = true)]
public sealed class NotParallelCollection;
