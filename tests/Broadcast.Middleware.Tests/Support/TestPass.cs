namespace Broadcast.Middleware.Tests.Support;

/// <summary>
/// The current pass of the test suite. Each test class that starts a real server runs in two passes. In the first pass, the
/// server hands over connections and sends inline, which is the default. In the second pass, the request of each
/// connection stays open, and Kestrel sends. The other test classes do not depend on these options, so the second pass
/// omits the other classes.
/// </summary>
/// <remarks>
/// The script test.sh searches the sources for the classes that start a server. The option --more runs the second pass.
/// BROADCAST_TEST_SERVER_CLASSES names a file with the classes that the script has found.
/// </remarks>
static class TestPass
{
    /// <summary>True in the second pass, in which requests stay open.</summary>
    public static readonly bool RequestsStayOpen = Environment.GetEnvironmentVariable("BROADCAST_TEST_OPEN_REQUESTS") == "1";

    static readonly HashSet<string>? FoundClasses =
        Environment.GetEnvironmentVariable("BROADCAST_TEST_SERVER_CLASSES") is { Length: > 0 } file ? [.. File.ReadLines(file)] : null;

    /// <summary>Fails a test that starts a server if the second pass omits the class of the test.</summary>
    public static void AssertRunsTwice()
    {
        if (FoundClasses is null || TestContext.Current.TestClass?.TestClassName is not { } name) return;
        Assert.True(FoundClasses.Contains(name), $"{name} starts a server, but test.sh does not find the class. Adapt the search in test.sh.");
    }
}
