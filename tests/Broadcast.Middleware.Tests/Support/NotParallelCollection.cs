namespace Broadcast.Middleware.Tests.Support;

/// <summary>Runs test classes without any other test in parallel.</summary>
[CollectionDefinition(nameof(NotParallelCollection), DisableParallelization = true)]
public sealed class NotParallelCollection;
