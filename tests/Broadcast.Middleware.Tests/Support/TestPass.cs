namespace Broadcast.Middleware.Tests.Support;

/// <summary>
/// The suite runs the test classes that start a real server twice: once with the server's own sends, and once with inline sends. The
/// other classes behave the same in both passes, so the second pass omits them.
/// </summary>
/// <remarks>
/// BROADCAST_TEST_SERVER_CLASSES names a file to which the first pass writes the classes that start a server. test.sh gives the second
/// pass that list as its filter, so that no class has to be marked by hand.
/// </remarks>
static class TestPass
{
    /// <summary>True in the second pass, in which servers send inline.</summary>
    public static readonly bool InlineSends = Environment.GetEnvironmentVariable("BROADCAST_TEST_INLINE_SENDS") == "1";

    static readonly string? ClassList = Environment.GetEnvironmentVariable("BROADCAST_TEST_SERVER_CLASSES");
    static readonly HashSet<string> Classes = [];

    /// <summary>Notes that the class of the running test starts a server.</summary>
    public static void Note()
    {
        if (ClassList is not { Length: > 0 } || TestContext.Current.TestClass?.TestClassName is not { } name) return;
        lock (Classes)
        {
            if (Classes.Add(name)) File.AppendAllText(ClassList, name + '\n');
        }
    }
}
