using System.Text.Json;

namespace WebDemo.Tests;

/// <summary>Tests the published npm client with both of its protocols.</summary>
public sealed class NpmClientTests(DemoServer server)
{
    // By default, the client retries a failed request three times, one second apart.
    static readonly object NoRetries = new { messageRetryOptions = new { maxRetries = 0 } };

    public static TheoryData<string> Protocols => [NpmClient.Reliable, NpmClient.Plain];

    [Theory, MemberData(nameof(Protocols))]
    public async Task SendToGroup_AnyDataType_ReachesAllMembersAndIsAcknowledged(string protocol)
    {
        var bytes = Enumerable.Range(0, 256).Select(static number => (byte)number).ToArray();
        await using var ann = await ConnectAsync(protocol);
        await using var ben = await ConnectAsync(protocol);
        foreach (var client in new[] { ann, ben }) await client.JoinAsync("types");
        Assert.False((await ann.CallAsync("sendToGroup", "types", "Grüße, 🛰\n\"", "text")).GetProperty("isDuplicated").GetBoolean());
        Assert.False((await ann.CallAsync("sendToGroup", "types", new { list = new object?[] { 1, null, "é" } }, "json")).GetProperty("isDuplicated").GetBoolean());
        Assert.False((await ann.CallAsync("sendToGroup", "types", Base64(bytes), "binary")).GetProperty("isDuplicated").GetBoolean());
        foreach (var client in new[] { ann, ben })
        {
            var text = await NextAsync(client, "text");
            Assert.Equal("Grüße, 🛰\n\"", text.GetString());
            var json = await NextAsync(client, "json");
            Assert.Equal("""{"list":[1,null,"é"]}""", json.GetRawText());
            var binary = await NextAsync(client, "binary");
            Assert.Equal(bytes, binary.GetProperty("base64").GetBytesFromBase64());
        }

        static async Task<JsonElement> NextAsync(NpmClient client, string type)
        {
            var message = await client.NextGroupMessageAsync();
            Assert.Equal("types", message.GetProperty("group").GetString());
            Assert.Equal(type, message.GetProperty("dataType").GetString());
            // The clients are anonymous.
            Assert.False(message.TryGetProperty("fromUserId", out _));
            return message.GetProperty("data");
        }
    }

    [Theory, MemberData(nameof(Protocols))]
    public async Task SendToGroup_NoEcho_DoesNotReachSender(string protocol)
    {
        await using var ann = await ConnectAsync(protocol);
        await using var ben = await ConnectAsync(protocol);
        foreach (var client in new[] { ann, ben }) await client.JoinAsync("echo");
        await ann.CallAsync("sendToGroup", "echo", "for others", "text", new { noEcho = true });
        await ann.CallAsync("sendToGroup", "echo", "for all", "text");
        await ann.AssertNextGroupMessageAsync("echo", "for all");
        await ben.AssertNextGroupMessageAsync("echo", "for others");
        await ben.AssertNextGroupMessageAsync("echo", "for all");
    }

    [Theory, MemberData(nameof(Protocols))]
    public async Task LeaveGroup_ByMember_ReceivesNoMoreMessages(string protocol)
    {
        // The server waits for disconnected clients of the reliable protocol. These clients would count as members of the same group.
        var group = $"left, {protocol}";
        await using var ann = await ConnectAsync(protocol);
        await using var ben = await ConnectAsync(protocol);
        foreach (var client in new[] { ann, ben }) await client.JoinAsync(group);
        Assert.Equal(2, await server.CountAsync(group));
        await ben.CallAsync("leaveGroup", group);
        Assert.Equal(1, await server.CountAsync(group));
        await ann.CallAsync("sendToGroup", group, "one", "text");
        await ann.AssertNextGroupMessageAsync(group, "one");
        await ben.JoinAsync(group);
        await ann.CallAsync("sendToGroup", group, "two", "text");
        await ann.AssertNextGroupMessageAsync(group, "two");
        await ben.AssertNextGroupMessageAsync(group, "two");
    }

    [Theory, MemberData(nameof(Protocols))]
    public async Task Call_RejectedByServer_ThrowsWithErrorName(string protocol)
    {
        await using var ann = await ConnectAsync(protocol, NoRetries);
        Assert.Equal("BadRequest", (await Assert.ThrowsAsync<NpmClientException>(() => ann.CallAsync("sendEvent", "greet", "hello", "text"))).Name);
        Assert.Equal("Forbidden", (await Assert.ThrowsAsync<NpmClientException>(() => ann.CallAsync("joinGroup", "/rooms/npm"))).Name);
        Assert.Equal("Forbidden", (await Assert.ThrowsAsync<NpmClientException>(() => ann.CallAsync("sendToGroup", "/rooms/npm", "hello", "text"))).Name);
        Assert.Equal(0, await server.CountAsync("/rooms/npm"));
        // The rejected call does not end the connection.
        await ann.JoinAsync("refused");
        await ann.CallAsync("sendToGroup", "refused", "hello", "text");
        await ann.AssertNextGroupMessageAsync("refused", "hello");
    }

    [Theory, MemberData(nameof(Protocols))]
    public async Task Publish_ToGroup_ReachesMember(string protocol)
    {
        await using var ann = await ConnectAsync(protocol);
        await ann.JoinAsync("published");
        using var response = await server.Http.PostAsync("/publish?group=published", new StringContent("news"), TestContext.Current.CancellationToken);
        var message = await ann.NextServerMessageAsync();
        Assert.Equal(("text", "news"), (message.GetProperty("dataType").GetString(), message.GetProperty("data").GetString()));
    }

    [Theory, MemberData(nameof(Protocols))]
    public async Task SendToGroup_RepeatedAckId_TakesEffectOnce(string protocol)
    {
        await using var ann = await ConnectAsync(protocol);
        await using var ben = await ConnectAsync(protocol);
        await ben.JoinAsync("once");
        for (var attempt = 0; attempt < 3; attempt++)
        {
            var result = await ann.CallAsync("sendToGroup", "once", "pay", "text", new { ackId = 1234 });
            Assert.Equal(1234, result.GetProperty("ackId").GetInt32());
            Assert.Equal(attempt > 0, result.GetProperty("isDuplicated").GetBoolean());
        }

        await ann.CallAsync("sendToGroup", "once", "done", "text");
        await ben.AssertNextGroupMessageAsync("once", "pay");
        await ben.AssertNextGroupMessageAsync("once", "done");
    }

    Task<NpmClient> ConnectAsync(string protocol, object? options = null) => NpmClient.ConnectAsync(server.Url, protocol, options);

    static object Base64(byte[] bytes) => new { base64 = Convert.ToBase64String(bytes) };
}
