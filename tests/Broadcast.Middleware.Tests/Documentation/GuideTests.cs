using System.Buffers.Binary;
using System.Net;
using System.Security.Cryptography;
using System.Text.Json;
using System.Threading.Channels;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;

namespace Broadcast.Middleware.Tests.Documentation;

/// <summary>Runs the code of the guides in docs/guides.</summary>
public sealed class GuideTests
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Chat_NewMember_ReceivesMessagesButNoTypingNotices()
    {
        await using var app = await BroadcastApp.StartAsync(ChatGuide.Add, ChatGuide.Map);
        await using var ann = await RawClient.OpenAsync(app, "/rooms/blue?name=Ann");

        await ann.SendAsync(ClientFrame.CreateText(""), ClientFrame.CreateText("hello"));

        Assert.Equal(("Ann", ""), await ReadAsync(ann));
        Assert.Equal(("Ann", "hello"), await ReadAsync(ann));
        await using var bob = await RawClient.ConnectAsync(app);
        await bob.HandshakeAsync("/rooms/blue?name=Bob");
        Assert.Equal(("Ann", "hello"), await ReadAsync(bob));

        static async Task<(string, string)> ReadAsync(RawClient client)
        {
            var message = JsonSerializer.Deserialize((await client.ReadFrameAsync()).Payload, ChatJson.Default.ChatMessage)!;
            return (message.Name, message.Text);
        }
    }

    [Fact]
    public async Task Chat_ClientWithoutName_IsClosedWithReason()
    {
        await using var app = await BroadcastApp.StartAsync(ChatGuide.Add, ChatGuide.Map);
        await using var client = await RawClient.ConnectAsync(app);
        await client.HandshakeAsync("/rooms/blue");

        var close = await client.ReadCloseAsync();

        Assert.Equal((1008, "Add ?name=… with 1 to 32 characters to the URL."), (close.CloseCode, close.CloseReason));
    }

    [Fact]
    public async Task LiveUpdates_ShippedOrder_ReachesDashboard()
    {
        await using var app = await BroadcastApp.StartAsync(static builder => builder.Services.AddSingleton<OrderStore>(), LiveUpdatesGuide.Map);
        await using var dashboard = await EventClient.OpenAsync(app, "/status");

        Assert.Equal(HttpStatusCode.NoContent, await PostAsync(app, "/orders/7/ship"));

        Assert.Equal("""{"id":"7","customer":"ann","status":"shipped"}""", (await dashboard.NextAsync()).Data);
    }

    [Fact]
    public async Task Collaboration_NewMember_ReceivesDocumentAndThenEachLaterChange()
    {
        await using var app = await BroadcastApp.StartAsync(CollaborationGuide.Add, CollaborationGuide.Map);
        await using var ann = await RawClient.ConnectAsync(app);
        await ann.HandshakeAsync("/documents/plan");
        Assert.Equal("{}", (await ann.ReadFrameAsync()).Text);
        await ann.SendAsync(ClientFrame.CreateText("title=Plan"), ClientFrame.CreateText("title=New plan"));
        Assert.Equal("title=Plan", (await ann.ReadFrameAsync()).Text);
        Assert.Equal("title=New plan", (await ann.ReadFrameAsync()).Text);
        // The server processes the next message only after the document contains the previous change.
        await ann.AssertOpenAsync();

        await using var bob = await RawClient.ConnectAsync(app);
        await bob.HandshakeAsync("/documents/plan");
        Assert.Equal("""{"title":"New plan"}""", (await bob.ReadFrameAsync()).Text);
        await bob.JoinedAsync();
        await ann.SendAsync(ClientFrame.CreateText("owner=Ann"));

        Assert.Equal("owner=Ann", (await bob.ReadFrameAsync()).Text);
    }

    [Fact]
    public async Task Collaboration_Cursor_ReachesOnlyOtherMembers()
    {
        await using var app = await BroadcastApp.StartAsync(map: CollaborationGuide.Cursors);
        await using var ann = await RawClient.OpenAsync(app, "/documents/plan/cursors");
        await using var bob = await RawClient.OpenAsync(app, "/documents/plan/cursors");

        await ann.SendAsync(ClientFrame.CreateText("10,20"));

        Assert.Equal("10,20", (await bob.ReadFrameAsync()).Text);
        await ann.AssertOpenAsync();
    }

    [Fact]
    public async Task Game_SteeredPlayer_MovesInNextFrame()
    {
        var time = new FakeTimeProvider();
        await using var app = await BroadcastApp.StartAsync(
            builder =>
            {
                builder.Services.AddSingleton<TimeProvider>(time);
                GameGuide.Add(builder);
            },
            GameGuide.Map);
        await using var client = await RawClient.OpenAsync(app, "/game");
        await client.SendAsync(ClientFrame.Make(ClientFrame.Binary, [5, 3]));
        await client.AssertOpenAsync();

        time.Advance(TimeSpan.FromMilliseconds(33));
        var frame = await client.ReadFrameAsync();

        Assert.Equal((ClientFrame.Binary, 6), (frame.Opcode, frame.Payload.Length));
        Assert.Equal((5, 3), (BinaryPrimitives.ReadUInt16LittleEndian(frame.Payload.AsSpan(2)), BinaryPrimitives.ReadUInt16LittleEndian(frame.Payload.AsSpan(4))));
    }

    [Fact]
    public async Task Sensors_ReadingsOfSocketAndPost_ReachClientsAsSameFrames()
    {
        await using var app = await BroadcastApp.StartAsync(SensorGuide.Add, SensorGuide.Map);
        await using var page = await RawClient.OpenAsync(app, "/sensors");
        byte[] reading = [7, 0, 0, 0, 0, 0, 0xAC, 0x41];   // sensor 7, value 21.5

        await page.SendAsync(ClientFrame.Make(ClientFrame.Binary, reading));
        Assert.Equal(reading, (await page.ReadFrameAsync()).Payload);
        await PostAsync(app, "/sensors/7?value=21.5");
        Assert.Equal(reading, (await page.ReadFrameAsync()).Payload);

        await page.SendAsync(ClientFrame.CreateText("21.5"));
        Assert.Equal(1003, (await page.ReadCloseAsync()).CloseCode);
    }

    [Fact]
    public async Task Streaming_ReaderConnectsLate_ReceivesWholeAnswer()
    {
        await using var app = await BroadcastApp.StartAsync(
            builder =>
            {
                StreamingGuide.Add(builder);
                builder.Services.AddSingleton<Assistant>();
            },
            StreamingGuide.Map);
        await PostAsync(app, "/questions/1?question=one+two+three");

        await using var reader = await EventClient.OpenAsync(app, "/answers/1");

        Assert.Equal(["one", "two", "three"], await reader.ReceiveTextAsync(3));
    }

    [Fact]
    public async Task Streaming_Export_SendsEachRow()
    {
        await using var app = await BroadcastApp.StartAsync(static builder => builder.Services.AddSingleton<SalesTable>(), StreamingGuide.Rows);
        await using var client = await RawClient.OpenAsync(app, "/export");

        await client.SendAsync(ClientFrame.CreateText("2026"));

        for (var row = 1; row <= 100; row++) Assert.Equal($"2026: row {row}", (await client.ReadFrameAsync()).Text);
    }

    [Theory]
    [InlineData("blue", 101)]
    [InlineData("red", 403)]
    [InlineData(null, 401)]
    public async Task JwtRooms_TokenForRoom_OpensOnlyThisRoom(string? room, int status)
    {
        var key = RandomNumberGenerator.GetBytes(32);
        await using var app = await BroadcastApp.StartAsync(
            builder =>
            {
                builder.Configuration.AddInMemoryCollection([new("Jwt:Key", Convert.ToBase64String(key))]);
                AuthenticationSnippets.Jwt(builder);
            },
            AuthenticationSnippets.MapRooms);
        using var http = new HttpClient();
        var address = new Uri($"http://127.0.0.1:{app.Port}/token?name=ann&room={room}");
        using var response = await http.PostAsync(address, null, Token);
        var token = await response.Content.ReadAsStringAsync(Token);
        await using var client = await RawClient.ConnectAsync(app);

        var answer = await client.HandshakeAsync(room is null ? "/rooms/blue" : $"/rooms/blue?access_token={token}");

        Assert.Equal(status, answer.Status);
        if (status == 101) await Eventually.True(() => app.Registry.Connections.SingleOrDefault()?.UserId == "ann");
    }

    [Fact]
    public async Task Handshake_CookieOfLogin_SetsUserId()
    {
        await using var app = await BroadcastApp.StartAsync(AuthenticationSnippets.Cookies, AuthenticationSnippets.MapCookies);
        using var http = new HttpClient();
        using var login = await http.PostAsync(new Uri($"http://127.0.0.1:{app.Port}/login?name=ann"), null, Token);
        var cookie = login.Headers.GetValues("Set-Cookie").Single().Split(';')[0];
        await using var client = await RawClient.ConnectAsync(app);

        Assert.Equal(101, (await client.HandshakeAsync("/chat", ("Cookie", cookie))).Status);

        await Eventually.True(() => app.Registry.Connections.SingleOrDefault()?.UserId == "ann");
        await using var stranger = await RawClient.ConnectAsync(app);
        Assert.Equal(401, (await stranger.HandshakeAsync("/chat")).Status);
    }

    [Fact]
    public async Task CSharpClient_ServerClosesConnection_ConnectsAgain()
    {
        await using var app = await BroadcastApp.StartAsync();
        var received = Channel.CreateUnbounded<string>();
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(Token);
        var client = DocumentedListener.RunAsync(
            new Uri($"ws://127.0.0.1:{app.Port}/ws"), async text => await received.Writer.WriteAsync(text, Token), stop.Token);
        await app.Registry.OpenedAsync("/ws", 1);
        await app.PublishToAsync(Recipients.Group("/ws"), "before");
        Assert.Equal("before", await ReceiveAsync());

        var first = app.Registry.Connections.Single().Id;
        await app.Broadcaster.CloseAsync(first, (System.Net.WebSockets.WebSocketCloseStatus)1012, cancellationToken: Token);
        await Eventually.True(() => app.Registry.CountGroupMembers("/ws") == 1 && app.Registry.Find(first) is null);
        await app.Registry.OpenedAsync("/ws", 1);
        await app.PublishToAsync(Recipients.Group("/ws"), "after");

        Assert.Equal("after", await ReceiveAsync());
        await stop.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => client);

        Task<string> ReceiveAsync() => received.Reader.ReadAsync(Token).AsTask().WaitAsync(Eventually.Patience, Token);
    }

    [Fact]
    public async Task FastApiMigration_ClientLeaves_OthersAreNotified()
    {
        await using var app = await BroadcastApp.StartAsync(map: MigrationSnippets.FastApiAfter);
        await using var first = await RawClient.OpenAsync(app, "/ws?client=1");
        await using var second = await RawClient.OpenAsync(app, "/ws?client=2");

        await second.SendAsync(ClientFrame.CreateText("hello"));
        Assert.Equal("Client #2 says: hello", (await first.ReadFrameAsync()).Text);
        await second.LeaveAsync();

        Assert.Equal("Client #2 left the chat", (await first.ReadFrameAsync()).Text);
    }

    static async Task<HttpStatusCode> PostAsync(BroadcastApp app, string path)
    {
        using var http = new HttpClient();
        using var response = await http.PostAsync(new Uri($"http://127.0.0.1:{app.Port}{path}"), null, Token);
        return response.StatusCode;
    }
}
