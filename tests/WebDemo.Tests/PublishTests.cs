using System.Net;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;

namespace WebDemo.Tests;

public sealed class PublishTests(Demo demo) : IClassFixture<Demo>
{
    [Fact]
    public async Task A_post_reaches_the_named_group_and_says_how_many_it_is_for()
    {
        using var blue = await demo.ConnectAsync("/rooms/blue");
        using var also = await demo.ConnectAsync("/rooms/blue");
        using var green = await demo.ConnectAsync("/rooms/green");
        await demo.WaitForCountAsync("/rooms/blue", 2);
        await demo.WaitForCountAsync("/rooms/green", 1);
        Assert.Equal("""{"localRecipients":2,"offset":1}""", await PublishedAsync("/publish?group=/rooms/blue", "hello"));
        Assert.Equal("""{"localRecipients":2,"offset":2}""", await PublishedAsync("/publish?group=%2Frooms%2Fblue", "Grüße\n"));
        foreach (var socket in new[] { blue, also })
        {
            Assert.Equal("hello", await socket.ReceiveTextAsync());
            Assert.Equal("Grüße\n", await socket.ReceiveTextAsync());
        }

        await PublishedAsync("/publish?group=/rooms/green", "for green");
        Assert.Equal("for green", await green.ReceiveTextAsync());
    }

    [Fact]
    public async Task Without_a_group_a_post_reaches_everyone()
    {
        using var ws = await demo.ConnectAsync("/ws");
        using var seed = await demo.ConnectAsync("/seed");
        await demo.WaitForCountAsync("/ws", 1);
        await demo.WaitForCountAsync("/seed", 1);
        var answer = JsonDocument.Parse(await PublishedAsync("/publish", "to all")).RootElement;
        Assert.Equal(await demo.CountAsync(), answer.GetProperty("localRecipients").GetInt32());
        Assert.Equal("to all", await ws.ReceiveTextAsync());
        Assert.Equal("to all", await seed.ReceiveTextAsync());
    }

    [Fact]
    public async Task Nobody_to_hear_it_is_no_error() =>
        Assert.Equal("""{"localRecipients":0,"offset":null}""", await PublishedAsync("/publish?group=/nowhere", "hello"));

    [Fact]
    public async Task A_room_keeps_what_is_posted_to_it_while_nobody_is_there()
    {
        Assert.Equal("""{"localRecipients":0,"offset":1}""", await PublishedAsync("/publish?group=/rooms/empty", "for later"));
        using var later = await demo.ConnectAsync("/rooms/empty");
        Assert.Equal("for later", await later.ReceiveTextAsync());
    }

    [Fact]
    public async Task A_body_of_the_largest_size_is_taken()
    {
        using var socket = await demo.ConnectAsync("/rooms/large");
        await demo.WaitForCountAsync("/rooms/large", 1);
        var body = new byte[64 * 1024];
        Array.Fill(body, (byte)'x');
        await PublishedAsync("/publish?group=/rooms/large", body);
        Assert.Equal(body, (await socket.ReceiveAsync()).Bytes);
    }

    [Theory]
    [InlineData("", "hello", 400, "A group's name has 1 to 255 characters")]
    [InlineData("a%0Ab", "hello", 400, "none of them a control character")]
    [InlineData("/ws", "", 400, "The body is empty: send the text to publish in it")]
    public async Task A_bad_request_is_told_how_to_mend_it(string group, string body, int statusCode, string expected)
    {
        var (status, text) = await PostAsync($"/publish?group={group}", new StringContent(body));
        Assert.Equal(statusCode, (int)status);
        Assert.Contains(expected, text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Bytes_that_are_not_utf8_are_refused()
    {
        var (status, text) = await PostAsync("/publish", new ByteArrayContent([(byte)'a', 0xC3]));
        Assert.Equal(HttpStatusCode.BadRequest, status);
        Assert.Contains("not valid UTF-8", text, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task One_byte_too_many_is_refused_whether_the_length_is_announced_or_not(bool chunked)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, "/publish") { Content = new ByteArrayContent(new byte[64 * 1024 + 1]) };
        request.Headers.TransferEncodingChunked = chunked;
        using var response = await demo.Http.SendAsync(request, TestContext.Current.CancellationToken);
        Assert.Equal(HttpStatusCode.RequestEntityTooLarge, response.StatusCode);
        Assert.Contains(
            "exceeds 65536 bytes: send less, or raise Broadcast:MaxMessageBytes",
            await response.Content.ReadAsStringAsync(TestContext.Current.CancellationToken), StringComparison.Ordinal);

        // What was not read of it does not spoil the connection for the next request.
        await PublishedAsync("/publish", "hello");
    }

    async Task<string> PublishedAsync(string url, byte[] body)
    {
        // As curl -d labels it.
        var content = new ByteArrayContent(body) { Headers = { ContentType = new MediaTypeHeaderValue("application/x-www-form-urlencoded") } };
        var (status, text) = await PostAsync(url, content);
        Assert.Equal(HttpStatusCode.OK, status);
        return text;
    }

    Task<string> PublishedAsync(string url, string text) => PublishedAsync(url, Encoding.UTF8.GetBytes(text));

    async Task<(HttpStatusCode Status, string Text)> PostAsync(string url, HttpContent content)
    {
        using var response = await demo.Http.PostAsync(url, content, TestContext.Current.CancellationToken);
        return (response.StatusCode, await response.Content.ReadAsStringAsync(TestContext.Current.CancellationToken));
    }
}
