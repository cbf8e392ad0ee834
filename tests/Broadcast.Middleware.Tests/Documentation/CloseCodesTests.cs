using System.Reflection;

namespace Broadcast.Middleware.Tests.Documentation;

/// <summary>Tests that docs/reference/close-codes.md lists the reasons that clients receive.</summary>
public sealed class CloseCodesTests
{
    public static TheoryData<string> Reasons() =>
    [
        .. typeof(CloseReasons).GetFields(BindingFlags.Public | BindingFlags.Static).Select(static field => (string)field.GetValue(null)!),
    ];

    [Theory]
    [MemberData(nameof(Reasons))]
    public void CloseCodesPage_EachReason_IsListed(string reason) =>
        Assert.Contains($" | {reason} | ", File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "close-codes.md")), StringComparison.Ordinal);
}
