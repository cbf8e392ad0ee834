using System.Net.WebSockets;
using System.Text.Json;

namespace WebDemo.Tests;

/// <summary>The published npm client against the demo.</summary>
public sealed class NpmClientTests(Demo demo) : IClassFixture<Demo>
{
    // Not three more times, a second apart.
    static readonly object OnlyOnce = new { messageRetryOptions = new { maxRetries = 0 } };

    static readonly object AgainAtOnce = new { reconnectRetryOptions = new { retryDelayInMs = 50 } };

    static readonly string[] ProtocolNames = [NpmClient.Reliable, NpmClient.Plain];

    public static TheoryData<string> Protocols => [.. ProtocolNames];

    [Theory, MemberData(nameof(Protocols))]
    public async Task What_one_sends_to_a_group_all_in_it_get_with_its_type_and_the_sender_an_acknowledgement(string protocol)
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
            // Nobody here has said who they are.
            Assert.False(message.TryGetProperty("fromUserId", out _));
            return message.GetProperty("data");
        }
    }

    [Theory, MemberData(nameof(Protocols))]
    public async Task Without_echo_the_sender_does_not_get_it(string protocol)
    {
        await using var ann = await ConnectAsync(protocol);
        await using var ben = await ConnectAsync(protocol);
        foreach (var client in new[] { ann, ben }) await client.JoinAsync("echo");
        await ann.CallAsync("sendToGroup", "echo", "for others", "text", new { noEcho = true });
        await ann.CallAsync("sendToGroup", "echo", "for all", "text");
        await ann.SeesAsync("echo", "for all");
        await ben.SeesAsync("echo", "for others");
        await ben.SeesAsync("echo", "for all");
    }

    [Theory, MemberData(nameof(Protocols))]
    public async Task Who_has_left_a_group_hears_it_no_more(string protocol)
    {
        // Of one protocol, those who are gone may still be expected back.
        var group = $"left, {protocol}";
        await using var ann = await ConnectAsync(protocol);
        await using var ben = await ConnectAsync(protocol);
        foreach (var client in new[] { ann, ben }) await client.JoinAsync(group);
        Assert.Equal(2, await demo.CountAsync(group));
        await ben.CallAsync("leaveGroup", group);
        Assert.Equal(1, await demo.CountAsync(group));
        await ann.CallAsync("sendToGroup", group, "one", "text");
        await ann.SeesAsync(group, "one");
        await ben.JoinAsync(group);
        await ann.CallAsync("sendToGroup", group, "two", "text");
        await ann.SeesAsync(group, "two");
        await ben.SeesAsync(group, "two");
    }

    [Theory, MemberData(nameof(Protocols))]
    public async Task What_is_refused_throws_with_the_reason(string protocol)
    {
        await using var ann = await ConnectAsync(protocol, OnlyOnce);
        Assert.Equal("BadRequest", (await Assert.ThrowsAsync<NpmException>(() => ann.CallAsync("sendEvent", "greet", "hello", "text"))).Name);
        Assert.Equal("Forbidden", (await Assert.ThrowsAsync<NpmException>(() => ann.CallAsync("joinGroup", "/rooms/blue"))).Name);
        Assert.Equal("Forbidden", (await Assert.ThrowsAsync<NpmException>(() => ann.CallAsync("sendToGroup", "/rooms/blue", "hello", "text"))).Name);
        Assert.Equal(0, await demo.CountAsync("/rooms/blue"));
        // And that was all: the connection is as it was.
        await ann.JoinAsync("refused");
        await ann.CallAsync("sendToGroup", "refused", "hello", "text");
        await ann.SeesAsync("refused", "hello");
    }

    [Theory, MemberData(nameof(Protocols))]
    public async Task Raw_clients_and_this_one_hear_each_other(string protocol)
    {
        // At /ws everybody hears everybody, other tests too.
        await using var own = new Demo();
        await own.StartAsync();
        await using var ann = await NpmClient.ConnectAsync(own.Url, protocol);
        using var raw = await own.ConnectAsync("/ws");
        await own.WaitForCountAsync("/ws", 2);
        await raw.SendAsync("hello");
        await raw.SendAsync(new byte[] { 0, 255 }, WebSocketMessageType.Binary, true, TestContext.Current.CancellationToken);
        var text = await ann.NextServerMessageAsync();
        Assert.Equal(("text", "hello"), (text.GetProperty("dataType").GetString(), text.GetProperty("data").GetString()));
        var binary = await ann.NextServerMessageAsync();
        Assert.Equal("binary", binary.GetProperty("dataType").GetString());
        Assert.Equal([0, 255], binary.GetProperty("data").GetProperty("base64").GetBytesFromBase64());
        Assert.Equal("hello", await raw.ReceiveTextAsync());
        Assert.Equal([0, 255], (await raw.ReceiveAsync()).Bytes);

        await ann.CallAsync("sendToGroup", "/ws", "hello yourself", "text");
        await ann.CallAsync("sendToGroup", "/ws", new { a = 1 }, "json");
        await ann.CallAsync("sendToGroup", "/ws", Base64([1, 2]), "binary");
        Assert.Equal("hello yourself", await raw.ReceiveTextAsync());
        Assert.Equal("""{"a":1}""", await raw.ReceiveTextAsync());
        var (type, bytes) = await raw.ReceiveAsync();
        Assert.Equal(WebSocketMessageType.Binary, type);
        Assert.Equal([1, 2], bytes);
    }

    [Theory, MemberData(nameof(Protocols))]
    public async Task What_the_app_publishes_to_a_group_reaches_it(string protocol)
    {
        await using var ann = await ConnectAsync(protocol);
        await ann.JoinAsync("published");
        using var response = await demo.Http.PostAsync("/publish?group=published", new StringContent("news"), TestContext.Current.CancellationToken);
        var message = await ann.NextServerMessageAsync();
        Assert.Equal(("text", "news"), (message.GetProperty("dataType").GetString(), message.GetProperty("data").GetString()));
    }

    [Theory, MemberData(nameof(Protocols))]
    public async Task A_request_that_is_repeated_takes_effect_once(string protocol)
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
        await ben.SeesAsync("once", "pay");
        await ben.SeesAsync("once", "done");
    }

    public static MatrixTheoryData<string, bool> Ends => new(ProtocolNames, [true, false]);

    [Theory, MemberData(nameof(Ends))]
    public async Task After_the_server_was_started_again_it_is_back_in_its_groups_by_itself(string protocol, bool saysGoodbye)
    {
        await using var own = new Demo();
        await own.StartAsync();
        await using var ann = await NpmClient.ConnectAsync(own.Url, protocol, AgainAtOnce);
        string[] groups = ["blue", "red"];
        foreach (var group in groups) await ann.JoinAsync(group);
        await ann.JoinAsync("left");
        await ann.CallAsync("leaveGroup", "left");
        await (saysGoodbye ? own.StopAsync() : own.KillAsync());
        await own.StartAsync();
        var end = await ann.NextAsync("disconnected");
        Assert.Equal(ann.ConnectionId, end.GetProperty("connectionId").GetString());
        var again = await ann.NextAsync("connected");
        Assert.NotEqual(ann.ConnectionId, again.GetProperty("connectionId").GetString());
        // It says so when it is in them.
        Assert.Equal((1, 1, 0), (await own.CountAsync("blue"), await own.CountAsync("red"), await own.CountAsync("left")));
        await using var ben = await NpmClient.ConnectAsync(own.Url, protocol);
        foreach (var group in groups)
        {
            await ben.CallAsync("sendToGroup", group, "after", "text");
            await ann.SeesAsync(group, "after");
        }
    }

    Task<NpmClient> ConnectAsync(string protocol, object? options = null) => NpmClient.ConnectAsync(demo.Url, protocol, options);

    static object Base64(byte[] bytes) => new { base64 = Convert.ToBase64String(bytes) };
}
