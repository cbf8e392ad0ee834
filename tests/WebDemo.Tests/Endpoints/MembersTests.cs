using System.Net;
using System.Net.Http.Json;
using System.Net.WebSockets;
using System.Text.Json;

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

    [Theory]
    [InlineData("")]
    [InlineData("eyJhbGciOiJub25lIn0.eyJzdWIiOiJBbm4ifQ.")]
    public async Task Connect_WithoutValidToken_IsRefusedWith401(string token)
    {
        using var socket = new ClientWebSocket();
        socket.Options.CollectHttpResponseDetails = true;
        await Assert.ThrowsAsync<WebSocketException>(() => socket.ConnectAsync(GetUrl(token), TestContext.Current.CancellationToken));
        Assert.Equal(HttpStatusCode.Unauthorized, socket.HttpStatusCode);
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

    async Task<string> LogInAsync(string name)
    {
        using var response = await server.Http.PostAsJsonAsync("/login", new { name, password = "demo" }, TestContext.Current.CancellationToken);
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        var session = await response.Content.ReadFromJsonAsync<JsonElement>(TestContext.Current.CancellationToken);
        return session.GetProperty("token").GetString()!;
    }

    async Task<ClientWebSocket> ConnectAsync(string token)
    {
        var socket = new ClientWebSocket();
        await socket.ConnectAsync(GetUrl(token), TestContext.Current.CancellationToken);
        return socket;
    }

    Uri GetUrl(string token) => new UriBuilder(server.GetWebSocketUrl("/members")) { Query = $"access_token={token}" }.Uri;
}
