namespace Broadcast.Middleware.Tests.Support;

/// <summary>Compares long arrays. <see cref="Assert"/> compares each byte as an object, which takes seconds for a megabyte.</summary>
static class BytesAssert
{
    public static void Equal(ReadOnlyMemory<byte> expected, ReadOnlyMemory<byte> actual)
    {
        Assert.Equal(expected.Length, actual.Length);
        var same = expected.Span.CommonPrefixLength(actual.Span);
        Assert.True(same == expected.Length, $"The byte at index {same} differs.");
    }
}
