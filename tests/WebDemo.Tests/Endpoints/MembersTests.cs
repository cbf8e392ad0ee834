using System.Net;
using System.Net.Http.Json;
using System.Net.WebSockets;

namespace WebDemo.Tests;

/// <summary>Tests the login and the room for members.</summary>
public sealed class MembersTests(DemoServer server)
{
    [Fact]
    public async Task Send_WithToken_ArrivesWithNameFromToken()
    {
        using var ann = await ConnectAsync(await LogInAsync("Ann"));
        await ann.SendTextAsync("Ben: hello");
        Assert.Equal("Ann: Ben: hello", await ann.ReceiveTextAsync());
        await ann.SendBinaryAsync(1);
        await ann.AssertClosedAsync(WebSocketCloseStatus.InvalidMessageType, "This URL accepts text messages only.");
    }

    [Fact]
    public async Task Renew_WithToken_ReturnsTokenThatExpiresLater()
    {
        var first = await LogInAsync("Ann");
        var lifetime = TimeSpan.FromMinutes(10).TotalMilliseconds;
        var between = DateTimeOffset.UtcNow.ToUnixTimeMilliseconds();
        var renewed = await RenewAsync(first);
        Assert.InRange(first.Expires - lifetime, 0, between);
        Assert.InRange(renewed.Expires - lifetime, between, long.MaxValue);
        using var ann = await ConnectAsync(renewed);
        await ann.SendTextAsync("hello");
        Assert.Equal("Ann: hello", await ann.ReceiveTextAsync());
    }

    [Theory]
    [InlineData("/login/renew")]
    [InlineData("/members/refresh")]
    public async Task RenewOrRefresh_WithoutToken_IsRefusedWith401(string url)
    {
        using var response = await server.Http.PostAsJsonAsync(url, new { connectionId = "x" }, TestContext.Current.CancellationToken);
        Assert.Equal(HttpStatusCode.Unauthorized, response.StatusCode);
    }

    [Fact]
    public async Task Refresh_WithRenewedToken_ExtendsOnlyOwnConnection()
    {
        var session = await LogInAsync("Ann");
        using var ann = await ConnectAsync(session, "&you");
        using var ben = await ConnectAsync(await LogInAsync("Ben"), "&you");
        var renewed = await RenewAsync(session);
        Assert.Equal(HttpStatusCode.NoContent, await RefreshAsync(ann));
        Assert.Equal(HttpStatusCode.NotFound, await RefreshAsync(ben));

        async Task<HttpStatusCode> RefreshAsync(ClientWebSocket socket)
        {
            var reply = await socket.ReceiveTextAsync();
            Assert.StartsWith("you ", reply, StringComparison.Ordinal);
            using var response = await PostAsync("/members/refresh", renewed, new { connectionId = reply[4..] });
            return response.StatusCode;
        }
    }

    [Theory]
    [InlineData("")]
    [InlineData("eyJhbGciOiJub25lIn0.eyJzdWIiOiJBbm4ifQ.")]
    public async Task ConnectOrWatch_WithoutValidToken_IsRefusedWith401(string token)
    {
        using var socket = new ClientWebSocket();
        socket.Options.CollectHttpResponseDetails = true;
        var url = server.GetWebSocketUrl($"/members?access_token={token}");
        await Assert.ThrowsAsync<WebSocketException>(() => socket.ConnectAsync(url, TestContext.Current.CancellationToken));
        Assert.Equal(HttpStatusCode.Unauthorized, socket.HttpStatusCode);
        using var response = await server.Http.GetAsync($"/members/online?access_token={token}", TestContext.Current.CancellationToken);
        Assert.Equal(HttpStatusCode.Unauthorized, response.StatusCode);
    }

    [Theory]
    [InlineData("Ann", "guess", HttpStatusCode.Unauthorized)]
    [InlineData(null, "demo", HttpStatusCode.BadRequest)]
    [InlineData(" ", "demo", HttpStatusCode.BadRequest)]
    [InlineData("A:b", "demo", HttpStatusCode.BadRequest)]
    public async Task Login_WrongPasswordOrName_ReturnsError(string? name, string password, HttpStatusCode status)
    {
        using var response = await server.Http.PostAsJsonAsync("/login", new { name, password }, TestContext.Current.CancellationToken);
        Assert.Equal(status, response.StatusCode);
    }

    async Task<LoginResponse> LogInAsync(string name)
    {
        using var response = await server.Http.PostAsJsonAsync("/login", new { name, password = "demo" }, TestContext.Current.CancellationToken);
        return await ReadSessionAsync(response);
    }

    async Task<LoginResponse> RenewAsync(LoginResponse session)
    {
        using var response = await PostAsync("/login/renew", session, new { });
        return await ReadSessionAsync(response);
    }

    async Task<HttpResponseMessage> PostAsync(string url, LoginResponse session, object body)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, url) { Content = JsonContent.Create(body) };
        request.Headers.Authorization = new("Bearer", session.Token);
        return await server.Http.SendAsync(request, TestContext.Current.CancellationToken);
    }

    Task<ClientWebSocket> ConnectAsync(LoginResponse session, string query = "") =>
        server.ConnectAsync($"/members?access_token={session.Token}{query}");

    static async Task<LoginResponse> ReadSessionAsync(HttpResponseMessage response)
    {
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        return (await response.Content.ReadFromJsonAsync<LoginResponse>(TestContext.Current.CancellationToken))!;
    }
}
