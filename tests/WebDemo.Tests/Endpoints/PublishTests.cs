using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json;

namespace WebDemo.Tests;

/// <summary>Tests the endpoint POST /publish. Some tests publish to all connections, so no other class uses the server.</summary>
[Collection<WsCollection>]
public sealed class PublishTests(DemoServer server)
{
    [Fact]
    public async Task Post_ToGroup_ReachesMembersAndReturnsCountAndOffset()
    {
        using var blue = await server.ConnectAsync("/rooms/publish-blue");
        using var also = await server.ConnectAsync("/rooms/publish-blue");
        using var green = await server.ConnectAsync("/rooms/publish-green");
        await server.WaitForCountAsync("/rooms/publish-blue", 2);
        await server.WaitForCountAsync("/rooms/publish-green", 1);
        Assert.Equal("""{"localRecipients":2,"offset":1}""", await PublishAsync("/publish?group=/rooms/publish-blue", "hello"));
        Assert.Equal("""{"localRecipients":2,"offset":2}""", await PublishAsync("/publish?group=%2Frooms%2Fpublish-blue", "Grüße\n"));
        foreach (var socket in new[] { blue, also })
        {
            Assert.Equal("hello", await socket.ReceiveTextAsync());
            Assert.Equal("Grüße\n", await socket.ReceiveTextAsync());
        }

        await PublishAsync("/publish?group=/rooms/publish-green", "for green");
        Assert.Equal("for green", await green.ReceiveTextAsync());
    }

    [Fact]
    public async Task Post_WithoutGroup_ReachesAllConnections()
    {
        using var ws = await server.ConnectAsync("/ws");
        using var seed = await server.ConnectAsync("/seed");
        // A connection joins the group of all connections after the group of its URL. The server reads messages after both joins.
        foreach (var socket in new[] { ws, seed })
        {
            await socket.SendTextAsync("joined?");
            Assert.EndsWith("joined?", await socket.ReceiveTextAsync(), StringComparison.Ordinal);
        }

        // The connections of earlier tests may still end.
        await server.WaitForCountAsync(null, 2);
        var response = JsonDocument.Parse(await PublishAsync("/publish", "to all")).RootElement;
        Assert.Equal(2, response.GetProperty("localRecipients").GetInt32());
        Assert.Equal("to all", await ws.ReceiveTextAsync());
        Assert.Equal("to all", await seed.ReceiveTextAsync());
    }

    [Fact]
    public async Task Post_ToUnknownGroup_ReturnsZeroRecipients() =>
        Assert.Equal("""{"localRecipients":0,"offset":null}""", await PublishAsync("/publish?group=/nowhere", "hello"));

    [Fact]
    public async Task Post_ToEmptyRoom_IsReplayedToNextMember()
    {
        Assert.Equal("""{"localRecipients":0,"offset":1}""", await PublishAsync("/publish?group=/rooms/empty", "for later"));
        using var later = await server.ConnectAsync("/rooms/empty");
        Assert.Equal("for later", await later.ReceiveTextAsync());
    }

    [Fact]
    public async Task Post_Transient_ReachesMembersButIsNotReplayed()
    {
        using var member = await server.ConnectAsync("/rooms/transient");
        await server.WaitForCountAsync("/rooms/transient", 1);
        await PublishAsync("/publish?group=/rooms/transient", "kept");
        Assert.Equal("""{"localRecipients":1,"offset":null}""", await PublishAsync("/publish?group=/rooms/transient&transient=true", "Ann is typing"));
        Assert.Equal("""{"localRecipients":1,"offset":2}""", await PublishAsync("/publish?group=/rooms/transient&transient=false", "also kept"));
        using var later = await server.ConnectAsync("/rooms/transient");
        foreach (var text in new[] { "kept", "Ann is typing", "also kept" }) Assert.Equal(text, await member.ReceiveTextAsync());
        foreach (var text in new[] { "kept", "also kept" }) Assert.Equal(text, await later.ReceiveTextAsync());
    }

    [Fact]
    public async Task Post_RepeatedId_HasNoEffect()
    {
        using var member = await server.ConnectAsync("/rooms/repeat");
        await server.WaitForCountAsync("/rooms/repeat", 1);
        Assert.Equal("""{"localRecipients":1,"offset":1}""", await PublishAsync("/publish?group=/rooms/repeat&id=order-1", "first"));
        Assert.Equal("""{"localRecipients":0,"offset":1,"isDuplicate":true}""", await PublishAsync("/publish?group=/rooms/repeat&id=order-1", "repeat"));
        // Another ID and another group are not a repeat.
        Assert.Equal("""{"localRecipients":1,"offset":2}""", await PublishAsync("/publish?group=/rooms/repeat&id=order-2", "second"));
        Assert.Equal("""{"localRecipients":0,"offset":1}""", await PublishAsync("/publish?group=/rooms/repeat-2&id=order-1", "first"));
        foreach (var text in new[] { "first", "second" }) Assert.Equal(text, await member.ReceiveTextAsync());
    }

    [Fact]
    public async Task Post_WithKey_IsRetainedUntilRemoved()
    {
        await using var own = await DemoServer.CreateAsync("--Broadcast:Groups:/ws:RetainLatestPerKey=true");
        using var member = await own.ConnectAsync("/ws");
        await own.WaitForCountAsync("/ws", 1);
        await PublishAsync("&key=a", "a1");
        await PublishAsync("&key=b", "b1");
        await PublishAsync("&key=a&transient=true", "transient");
        await PublishAsync("&key=a&remove=false", "a2");
        await PublishAsync("&key=b&remove=true", "b removed");

        foreach (var text in new[] { "a1", "b1", "transient", "a2", "b removed" }) Assert.Equal(text, await member.ReceiveTextAsync());
        using var later = await own.ConnectAsync("/ws");
        Assert.Equal("a2", await later.ReceiveTextAsync());
        await PublishAsync("&key=a&remove=true", "a removed");
        Assert.Equal("a removed", await later.ReceiveTextAsync());

        async Task PublishAsync(string query, string text)
        {
            using var response = await own.Http.PostAsync($"/publish?group=/ws{query}", new StringContent(text), TestContext.Current.CancellationToken);
            Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        }
    }

    [Fact]
    public async Task Post_MoreThanMaxRetainedKeys_ReturnsReasonAndFix()
    {
        await using var own = await DemoServer.CreateAsync("--Prices=false", "--Broadcast:Groups:/prices:MaxRetainedKeys=1");
        using var first = await own.Http.PostAsync("/publish?group=/prices&key=a", new StringContent("x"), TestContext.Current.CancellationToken);
        using var second = await own.Http.PostAsync("/publish?group=/prices&key=b", new StringContent("x"), TestContext.Current.CancellationToken);
        Assert.Equal((HttpStatusCode.OK, HttpStatusCode.Conflict), (first.StatusCode, second.StatusCode));
        Assert.Contains("MaxRetainedKeys is 1", await second.Content.ReadAsStringAsync(TestContext.Current.CancellationToken), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("remove=maybe&key=a", "Use remove=true or remove=false")]
    [InlineData("remove=true", "Set Key to the key to remove")]
    [InlineData("key=", "Use 1 to 256 characters")]
    [InlineData("key=a&remove=true&transient=true", "A transient message cannot remove a key")]
    [InlineData("id=", "The message ID has 0 characters. Use 1 to 128 characters")]
    [InlineData("id=a&transient=true", "set Id to null")]
    public async Task Post_InvalidKeyRemovalOrId_ReturnsReasonAndFix(string query, string expected)
    {
        var (status, text) = await PostAsync($"/publish?group=/rooms/publish-blue&{query}", new StringContent("hello"));
        Assert.Equal(HttpStatusCode.BadRequest, status);
        Assert.Contains(expected, text, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("/board")]
    [InlineData("/board/cursors")]
    public async Task Post_ToBoard_ReturnsForbiddenWithFix(string group)
    {
        var (status, text) = await PostAsync($"/publish?group={group}&key=a", new StringContent("""{"type":"stroke"}"""));
        Assert.Equal(HttpStatusCode.Forbidden, status);
        Assert.Contains("Draw at /board.html", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Post_ToMembersOrToEveryone_DoesNotReachMembers()
    {
        using var login = await server.Http.PostAsJsonAsync("/login", new LoginRequest("Ann", "demo"), TestContext.Current.CancellationToken);
        var session = await login.Content.ReadFromJsonAsync<LoginResponse>(TestContext.Current.CancellationToken);
        using var ann = await server.ConnectAsync($"/members?access_token={session!.Token}");
        // The server reads messages after all joins of the connection.
        await ann.SendTextAsync("joined?");
        Assert.Equal("Ann: joined?", await ann.ReceiveTextAsync());
        foreach (var url in new[] { "/publish?group=/members", "/publish" }) await PublishAsync(url, "Ann: I resign");
        await ann.SendTextAsync("hello");
        Assert.Equal("Ann: hello", await ann.ReceiveTextAsync());
    }

    [Fact]
    public async Task Post_InvalidTransientValue_ReturnsBadRequestWithFix()
    {
        var (status, text) = await PostAsync("/publish?transient=maybe", new StringContent("hello"));
        Assert.Equal(HttpStatusCode.BadRequest, status);
        Assert.Contains("Use transient=true or transient=false", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Post_BodyOfMaximumSize_IsPublished()
    {
        using var socket = await server.ConnectAsync("/rooms/large");
        await server.WaitForCountAsync("/rooms/large", 1);
        var body = new byte[64 * 1024];
        Array.Fill(body, (byte)'x');
        await PublishAsync("/publish?group=/rooms/large", body);
        Assert.Equal(body, (await socket.ReceiveMessageAsync()).Bytes);
    }

    [Theory]
    [InlineData("", "hello", 400, "Use 1 to 255 characters")]
    [InlineData("a%0Ab", "hello", 400, "no control characters")]
    [InlineData("/ws", "", 400, "The body is empty. Send the text in the body")]
    public async Task Post_InvalidRequest_ReturnsReasonAndFix(string group, string body, int statusCode, string expected)
    {
        var (status, text) = await PostAsync($"/publish?group={group}", new StringContent(body));
        Assert.Equal(statusCode, (int)status);
        Assert.Contains(expected, text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Post_InvalidUtf8_ReturnsBadRequestWithReason()
    {
        var (status, text) = await PostAsync("/publish", new ByteArrayContent([(byte)'a', 0xC3]));
        Assert.Equal(HttpStatusCode.BadRequest, status);
        Assert.Contains("not valid UTF-8", text, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Post_BodyTooLarge_IsRejectedAndConnectionStaysUsable(bool chunked)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, "/publish") { Content = new ByteArrayContent(new byte[64 * 1024 + 1]) };
        request.Headers.TransferEncodingChunked = chunked;
        using var response = await server.Http.SendAsync(request, TestContext.Current.CancellationToken);
        Assert.Equal(HttpStatusCode.RequestEntityTooLarge, response.StatusCode);
        Assert.Contains(
            "larger than 65536 bytes. Send a smaller body, or increase Broadcast:MaxMessageBytes",
            await response.Content.ReadAsStringAsync(TestContext.Current.CancellationToken), StringComparison.Ordinal);

        // The server has not read the whole body. The unread bytes must not affect the next request on the connection.
        await PublishAsync("/publish", "hello");
    }

    async Task<string> PublishAsync(string url, byte[] body)
    {
        // curl -d sends this content type.
        var content = new ByteArrayContent(body) { Headers = { ContentType = new MediaTypeHeaderValue("application/x-www-form-urlencoded") } };
        var (status, text) = await PostAsync(url, content);
        Assert.Equal(HttpStatusCode.OK, status);
        return text;
    }

    Task<string> PublishAsync(string url, string text) => PublishAsync(url, Encoding.UTF8.GetBytes(text));

    async Task<(HttpStatusCode Status, string Text)> PostAsync(string url, HttpContent content)
    {
        using var response = await server.Http.PostAsync(url, content, TestContext.Current.CancellationToken);
        return (response.StatusCode, await response.Content.ReadAsStringAsync(TestContext.Current.CancellationToken));
    }
}
