namespace Broadcast.Middleware.Tests.Support;

/// <summary>Reads items of <see cref="IBroadcaster.ReadAsync"/> with a time limit for each item.</summary>
static class Reading
{
    public static Task<bool> MoveAsync(this IAsyncEnumerator<ReceivedMessage> reader) =>
        reader.MoveNextAsync().AsTask().WaitAsync(Eventually.Patience, TestContext.Current.CancellationToken);

    /// <summary>Returns the next item. Fails if the enumeration ends instead.</summary>
    public static async Task<ReceivedMessage> NextAsync(this IAsyncEnumerator<ReceivedMessage> reader)
    {
        Assert.True(await reader.MoveAsync());
        return reader.Current;
    }

    /// <summary>Returns the texts of the next messages.</summary>
    public static async Task<string[]> TextsAsync(this IAsyncEnumerator<ReceivedMessage> reader, int count)
    {
        var texts = new string[count];
        for (var i = 0; i < count; i++) texts[i] = (await reader.NextAsync()).ToString();
        return texts;
    }
}
