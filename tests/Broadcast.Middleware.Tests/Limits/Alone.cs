namespace Broadcast.Middleware.Tests.Limits;

/// <summary>For tests that need the machine for themselves.</summary>
[CollectionDefinition(nameof(Alone), DisableParallelization = true)]
public sealed class Alone;
