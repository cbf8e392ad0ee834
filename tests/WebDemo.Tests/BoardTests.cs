using System.Net.WebSockets;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace WebDemo.Tests;

[Collection<PageCollection>]
public sealed class BoardTests(Chromium chromium) : IAsyncLifetime
{
    const string Refusal = """Send {"type":"stroke","points":[x,y,…]}, "cursor" with x and y or neither, or "clear"; 0 to 2000.""";

    // One for each test: there is but one board.
    readonly Demo _demo = new();

    public ValueTask InitializeAsync() => _demo.StartAsync();

    [Fact]
    public async Task What_one_draws_the_other_sees_and_who_comes_later_too_until_it_is_cleared()
    {
        await using var ann = await OpenAsync("Ann");
        await using var ben = await OpenAsync("Ben");
        await ann.SeesPeopleAsync("Ann (you)", "Ben");
        await ben.SeesPeopleAsync("Ann", "Ben (you)");
        await DrawAsync(ann);
        foreach (var visitor in new[] { ann, ben }) await SeesStrokeAsync(visitor);
        // While Ann draws, her cursor is at the stroke's end.
        await Expect(ben.Page.Locator(".cursor")).ToHaveTextAsync(["Ann"]);

        await using var cleo = await OpenAsync("Cleo");
        await SeesStrokeAsync(cleo);
        // Cursors are not kept.
        await Expect(cleo.Page.Locator(".cursor")).ToHaveCountAsync(0);
        await ben.Page.GetByRole(AriaRole.Button, new() { Name = "Clear for all" }).ClickAsync();
        foreach (var visitor in new[] { ann, ben, cleo }) await SeesNothingAsync(visitor);
        await using var dan = await OpenAsync("Dan");
        await dan.SeesPeopleAsync("Ann", "Ben", "Cleo", "Dan (you)");
        await SeesNothingAsync(dan);
    }

    [Fact]
    public async Task A_cursor_follows_its_person_and_leaves_with_them()
    {
        await using var ann = await OpenAsync("Ann");
        await using (var ben = await OpenAsync("Ben"))
        {
            await ann.SeesPeopleAsync("Ann (you)", "Ben");
            await MoveAsync(ben, 0.25, 0.75);
            await Expect(ann.Page.Locator(".cursor")).ToHaveTextAsync(["Ben"]);
            await Expect(ann.Page.Locator(".cursor")).ToHaveAttributeAsync("style", new Regex("left: 2[45].*top: 7[45]"));
            await Expect(ben.Page.Locator(".cursor")).ToHaveCountAsync(0);
        }

        await Expect(ann.Page.Locator(".cursor")).ToHaveCountAsync(0);
        await ann.SeesPeopleAsync("Ann (you)");
        await Expect(ann.Count).ToHaveTextAsync("1 here");
    }

    [Fact]
    public async Task A_finger_draws()
    {
        await using var ann = await OpenAsync("Ann", new() { ViewportSize = new() { Width = 390, Height = 844 }, IsMobile = true, HasTouch = true });
        await using var ben = await OpenAsync("Ben");
        await ben.SeesPeopleAsync("Ann", "Ben (you)");
        var touch = await ann.Page.Context.NewCDPSessionAsync(ann.Page);
        await TouchAsync("touchStart", await PlaceAsync(ann, 0.2, 0.5));
        for (var x = 0.25; x < 0.8; x += 0.05) await TouchAsync("touchMove", await PlaceAsync(ann, x, 0.5));
        await TouchAsync("touchEnd");
        foreach (var visitor in new[] { ann, ben }) await SeesStrokeAsync(visitor);
        // A finger that is lifted is nowhere.
        await Expect(ben.Page.Locator(".cursor")).ToHaveCountAsync(0);

        Task TouchAsync(string type, params (double X, double Y)[] points) => touch.SendAsync("Input.dispatchTouchEvent", new Dictionary<string, object>
        {
            ["type"] = type,
            ["touchPoints"] = points.Select(static point => new { x = point.X, y = point.Y }).ToArray(),
        });
    }

    [Theory]
    [InlineData("hello")]
    [InlineData("null")]
    [InlineData("[]")]
    [InlineData("""{"type":"shout"}""")]
    [InlineData("""{"type":"stroke"}""")]
    [InlineData("""{"type":"stroke","points":[]}""")]
    [InlineData("""{"type":"stroke","points":[1,2,3]}""")]
    [InlineData("""{"type":"stroke","points":[1,2001]}""")]
    [InlineData("""{"type":"stroke","points":[1,-1]}""")]
    [InlineData("""{"type":"stroke","points":["1","2"]}""")]
    [InlineData("""{"type":"cursor","x":1}""")]
    [InlineData("""{"type":"cursor","x":1.5,"y":2}""")]
    [InlineData("""{"type":"you"}""")]
    [InlineData("large")]
    public async Task What_is_not_of_the_board_closes_its_sender_with_a_reason(string sent)
    {
        using var socket = await _demo.ConnectAsync("/board");
        if (sent == "large") sent = $$"""{"type":"stroke","points":[{{string.Join(',', Enumerable.Repeat("1000", 258))}}]}""";
        Assert.Equal("you", (await ReadAsync(socket)).GetProperty("type").GetString());
        await socket.SendAsync(sent);
        Assert.Equal(WebSocketMessageType.Close, (await socket.ReceiveAsync()).Type);
        Assert.Equal(WebSocketCloseStatus.PolicyViolation, socket.CloseStatus);
        Assert.Equal(Refusal, socket.CloseStatusDescription);
    }

    [Fact]
    public async Task A_message_says_whose_it_is_whatever_its_sender_says()
    {
        using var one = await _demo.ConnectAsync("/board");
        using var two = await _demo.ConnectAsync("/board");
        var id = (await ReadAsync(one)).GetProperty("id").GetString();
        await ReadAsync(two);
        await one.SendAsync("""{"type":"stroke","points":[0,0,2000,2000],"id":"another","name":"Another"}""");
        var stroke = await ReadAsync(two);
        Assert.Equal(id, stroke.GetProperty("id").GetString());
        Assert.StartsWith("guest ", stroke.GetProperty("name").GetString(), StringComparison.Ordinal);
        Assert.Equal([0, 0, 2000, 2000], stroke.GetProperty("points").EnumerateArray().Select(static number => number.GetInt32()));

        // Of a cursor, everybody hears but the one whose it is; and nobody later.
        await one.SendAsync("""{"type":"cursor","x":1,"y":2}""");
        Assert.Equal("cursor", (await ReadAsync(two)).GetProperty("type").GetString());
        using var later = await _demo.ConnectAsync("/board");
        Assert.Equal("stroke", (await ReadAsync(later)).GetProperty("type").GetString());
        Assert.Equal("you", (await ReadAsync(later)).GetProperty("type").GetString());
    }

    public ValueTask DisposeAsync() => _demo.DisposeAsync();

    async Task<Visitor> OpenAsync(string name, BrowserNewContextOptions? window = null)
    {
        var visitor = await chromium.OpenPageAsync(new(_demo.Url, "/board.html"), name, window);
        await Expect(visitor.State).ToHaveTextAsync("Connected");
        await Expect(visitor.People.GetByText($"{name} (you)", new() { Exact = true })).ToBeVisibleAsync();
        return visitor;
    }

    /// <summary>A line through the middle of the sheet.</summary>
    static async Task DrawAsync(Visitor visitor)
    {
        await MoveAsync(visitor, 0.2, 0.5);
        await visitor.Page.Mouse.DownAsync();
        for (var x = 0.25; x < 0.8; x += 0.05) await MoveAsync(visitor, x, 0.5);
        await visitor.Page.Mouse.UpAsync();
    }

    static async Task MoveAsync(Visitor visitor, double x, double y)
    {
        var place = await PlaceAsync(visitor, x, y);
        await visitor.Page.Mouse.MoveAsync((float)place.X, (float)place.Y);
    }

    static async Task<(double X, double Y)> PlaceAsync(Visitor visitor, double x, double y)
    {
        var paper = (await visitor.Page.Locator("#paper").BoundingBoxAsync())!;
        return (paper.X + (x * paper.Width), paper.Y + (y * paper.Height));
    }

    /// <summary>In the picture itself: from the left to the right, and nowhere else.</summary>
    static async Task SeesStrokeAsync(Visitor visitor) => await visitor.Page.WaitForFunctionAsync("""
        () => {
          const canvas = document.getElementById("strokes");
          const isInked = (x, y) => canvas.getContext("2d").getImageData(x * canvas.width, y * canvas.height, 1, 1).data[3] > 0;
          return [0.22, 0.4, 0.5, 0.6, 0.72].every(x => isInked(x, 0.5)) && ![0.1, 0.9].some(x => isInked(x, 0.5)) && !isInked(0.5, 0.4);
        }
        """);

    static async Task SeesNothingAsync(Visitor visitor) => await visitor.Page.WaitForFunctionAsync("""
        () => {
          const canvas = document.getElementById("strokes");
          return canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.every(value => value === 0);
        }
        """);

    static async Task<JsonElement> ReadAsync(ClientWebSocket socket)
    {
        var (type, bytes) = await socket.ReceiveAsync();
        Assert.Equal(WebSocketMessageType.Text, type);
        return JsonSerializer.Deserialize<JsonElement>(Encoding.UTF8.GetString(bytes));
    }
}
