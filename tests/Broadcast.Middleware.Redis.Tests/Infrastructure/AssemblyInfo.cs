using Xunit.Sdk;
using Xunit.v3;

// Most tests wait for Redis or for a timeout and use little CPU time. Therefore many tests can run at the same time.
[assembly: Parallelization(Mode = ParallelMode.All, MaxThreads = 12)]
