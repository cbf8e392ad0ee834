namespace Broadcast.Middleware.Tests.Properties;

/// <summary>How hard the property and stress tests try: BROADCAST_TEST_EFFORT=20 multiplies their iterations by twenty.</summary>
static class Effort
{
    public static readonly int Factor =
        int.TryParse(Environment.GetEnvironmentVariable("BROADCAST_TEST_EFFORT"), out var factor) && factor > 0 ? factor : 1;
}

/// <summary>One at a time, and not beside other tests: they need the processors.</summary>
[CollectionDefinition(Name, DisableParallelization = true)]
public sealed class PropertiesCollection
{
    public const string Name = "Properties";
}
