using System.Text.RegularExpressions;
using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace WebDemo.Tests;

/// <summary>Tests the board page. The class needs its own server, because a server has only one board.</summary>
public sealed class BoardPageTests(DemoServer server, BrowserFixture browser) : IClassFixture<DemoServer>, IAsyncLifetime
{
    /// <summary>Clears the board, and waits until nobody is at the board.</summary>
    public async ValueTask InitializeAsync()
    {
        using (var cleaner = await server.ConnectAsync("/board"))
        {
            await cleaner.SendTextAsync("""{"type":"clear"}""");
            await cleaner.ReceiveUntilAsync(static message => message.GetProperty("type").GetString() == "you");
            await cleaner.ReceiveUntilAsync(static message => message.GetProperty("type").GetString() == "clear");
            await cleaner.CloseNormallyAsync();
        }

        await server.WaitForCountAsync("/board", 0);
    }

    [Fact]
    public async Task Draw_Stroke_IsShownOnAllPagesUntilCleared()
    {
        await using var ann = await OpenAsync("Ann");
        await using var ben = await OpenAsync("Ben");
        await ann.ExpectPeopleAsync("Ann (you)", "Ben");
        await ben.ExpectPeopleAsync("Ann", "Ben (you)");
        await DrawAsync(ann);
        foreach (var page in new[] { ann, ben }) await AssertStrokeIsShownAsync(page);
        // A stroke also moves the cursor of its sender to the end of the stroke.
        await Expect(ben.Page.Locator(".cursor")).ToHaveTextAsync(["Ann"]);

        await using var cleo = await OpenAsync("Cleo");
        await AssertStrokeIsShownAsync(cleo);
        // The board retains the latest cursor of each person.
        await Expect(cleo.Page.Locator(".cursor")).ToHaveTextAsync(["Ann"]);
        await Expect(cleo.Page.Locator(".cursor")).ToBeVisibleAsync();
        await ben.Page.GetByRole(AriaRole.Button, new() { Name = "Clear for all" }).ClickAsync();
        foreach (var page in new[] { ann, ben, cleo }) await AssertBoardIsEmptyAsync(page);
        await using var dan = await OpenAsync("Dan");
        await dan.ExpectPeopleAsync("Ann", "Ben", "Cleo", "Dan (you)");
        await AssertBoardIsEmptyAsync(dan);
    }

    [Fact]
    public async Task Cursor_OfOtherPerson_FollowsMouseAndDisappearsOnDisconnect()
    {
        await using var ann = await OpenAsync("Ann");
        await using (var ben = await OpenAsync("Ben"))
        {
            await ann.ExpectPeopleAsync("Ann (you)", "Ben");
            await MoveMouseAsync(ben, 0.25, 0.75);
            await Expect(ann.Page.Locator(".cursor")).ToHaveTextAsync(["Ben"]);
            await Expect(ann.Page.Locator(".cursor")).ToHaveAttributeAsync("style", new Regex("left: 2[45].*top: 7[45]"));
            await Expect(ben.Page.Locator(".cursor")).ToHaveCountAsync(0);
        }

        await Expect(ann.Page.Locator(".cursor")).ToHaveCountAsync(0);
        await ann.ExpectPeopleAsync("Ann (you)");
        // The disconnect also removed the retained cursor.
        await using var cleo = await OpenAsync("Cleo");
        await Expect(cleo.Page.Locator(".cursor")).ToHaveCountAsync(0);
        await cleo.Page.CloseAsync();
        await ann.ExpectPeopleAsync("Ann (you)");
        await Expect(ann.Count).ToHaveTextAsync("1 here");
    }

    [Fact]
    public async Task Draw_WithTouch_ShowsStrokeWithoutCursor()
    {
        await using var ann = await OpenAsync("Ann", new() { ViewportSize = new() { Width = 390, Height = 844 }, IsMobile = true, HasTouch = true });
        await using var ben = await OpenAsync("Ben");
        await ben.ExpectPeopleAsync("Ann", "Ben (you)");
        var touch = await ann.Page.Context.NewCDPSessionAsync(ann.Page);
        await TouchAsync("touchStart", await GetPointAsync(ann, 0.2, 0.5));
        for (var x = 0.25; x < 0.8; x += 0.05) await TouchAsync("touchMove", await GetPointAsync(ann, x, 0.5));
        await TouchAsync("touchEnd");
        foreach (var page in new[] { ann, ben }) await AssertStrokeIsShownAsync(page);
        // A lifted finger has no position, so its cursor disappears.
        await Expect(ben.Page.Locator(".cursor")).ToHaveCountAsync(0);

        Task TouchAsync(string type, params (double X, double Y)[] points) => SendTouchAsync(touch, type, points);
    }

    [Fact]
    public async Task Draw_SecondFingerTouchesAndLifts_ContinuesStroke()
    {
        await using var ann = await OpenAsync("Ann", new() { ViewportSize = new() { Width = 390, Height = 844 }, IsMobile = true, HasTouch = true });
        var touch = await ann.Page.Context.NewCDPSessionAsync(ann.Page);
        await TouchAsync("touchStart", await GetPointAsync(ann, 0.2, 0.5));
        await TouchAsync("touchMove", await GetPointAsync(ann, 0.3, 0.5));
        // Chromium lifts all fingers at once if it simulates touches, so the test creates the events of the second finger.
        await ann.Page.EvaluateAsync("""
            () => {
                const second = { pointerId: 99, pointerType: 'touch', isPrimary: false, bubbles: true };
                for (const type of ['pointerdown', 'pointerup', 'pointerleave']) document.getElementById('paper').dispatchEvent(new PointerEvent(type, second));
            }
            """);
        // The page sends the positions of the first finger in the next frame.
        await ann.Page.EvaluateAsync("() => new Promise(resolve => requestAnimationFrame(() => requestAnimationFrame(resolve)))");
        for (var x = 0.35; x < 0.8; x += 0.05) await TouchAsync("touchMove", await GetPointAsync(ann, x, 0.5));
        await TouchAsync("touchEnd");
        // The end of the test also asserts that the page reported no error.
        await AssertStrokeIsShownAsync(ann);

        Task TouchAsync(string type, params (double X, double Y)[] points) => SendTouchAsync(touch, type, points);
    }

    [Fact]
    public async Task Draw_WithKeyboard_ShowsStrokeAndCursors()
    {
        await using var ann = await OpenAsync("Ann");
        await using var ben = await OpenAsync("Ben");
        await ann.TabToAsync(ann.Page.GetByRole(AriaRole.Application, new() { Name = "Drawing board" }));
        // The cursor starts in the middle of the board.
        for (var i = 0; i < 15; i++) await ann.Page.Keyboard.PressAsync("ArrowLeft");
        await ann.Page.Keyboard.PressAsync("Space");
        for (var i = 0; i < 30; i++) await ann.Page.Keyboard.PressAsync("ArrowRight");
        // The drawing person sees the position and the state of the pen.
        await Expect(ann.Page.Locator(".cursor")).ToHaveTextAsync(["Ann ✎"]);
        await Expect(ben.Page.Locator(".cursor")).ToHaveTextAsync(["Ann"]);
        await ann.Page.Keyboard.PressAsync("Space");
        for (var i = 0; i < 15; i++) await ann.Page.Keyboard.PressAsync("ArrowUp");
        foreach (var page in new[] { ann, ben }) await AssertStrokeIsShownAsync(page);

        await ann.TabToAsync(ann.GetButton("Clear for all"));
        foreach (var page in new[] { ann, ben }) await Expect(page.Page.Locator(".cursor")).ToHaveCountAsync(0);
        await ann.Page.Keyboard.PressAsync("Enter");
        foreach (var page in new[] { ann, ben }) await AssertBoardIsEmptyAsync(page);
    }

    public ValueTask DisposeAsync() => default;

    async Task<DemoPage> OpenAsync(string name, BrowserNewContextOptions? window = null)
    {
        var page = await browser.OpenAsync(new(server.Url, "/board.html"), name, window);
        await page.ExpectStateAsync("Connected");
        await Expect(page.People.GetByText($"{name} (you)", new() { Exact = true })).ToBeVisibleAsync();
        return page;
    }

    /// <summary>Draws a horizontal line through the middle of the board.</summary>
    static async Task DrawAsync(DemoPage page)
    {
        await MoveMouseAsync(page, 0.2, 0.5);
        await page.Page.Mouse.DownAsync();
        for (var x = 0.25; x < 0.8; x += 0.05) await MoveMouseAsync(page, x, 0.5);
        await page.Page.Mouse.UpAsync();
    }

    /// <summary>Sends a touch event. The points are the positions of all fingers that touch the screen.</summary>
    static Task SendTouchAsync(ICDPSession session, string type, (double X, double Y)[] points) =>
        session.SendAsync("Input.dispatchTouchEvent", new Dictionary<string, object>
        {
            ["type"] = type,
            ["touchPoints"] = points.Select(static (point, index) => new { x = point.X, y = point.Y, id = index }).ToArray(),
        });

    static async Task MoveMouseAsync(DemoPage page, double x, double y)
    {
        var point = await GetPointAsync(page, x, y);
        await page.Page.Mouse.MoveAsync((float)point.X, (float)point.Y);
    }

    static async Task<(double X, double Y)> GetPointAsync(DemoPage page, double x, double y)
    {
        var paper = (await page.Page.Locator("#paper").BoundingBoxAsync())!;
        return (paper.X + (x * paper.Width), paper.Y + (y * paper.Height));
    }

    /// <summary>Waits until the canvas shows only the horizontal line.</summary>
    static async Task AssertStrokeIsShownAsync(DemoPage page) => await page.Page.WaitForFunctionAsync("""
        () => {
          const canvas = document.getElementById("strokes");
          const isInked = (x, y) => canvas.getContext("2d").getImageData(x * canvas.width, y * canvas.height, 1, 1).data[3] > 0;
          return [0.22, 0.4, 0.5, 0.6, 0.72].every(x => isInked(x, 0.5)) && ![0.1, 0.9].some(x => isInked(x, 0.5)) && !isInked(0.5, 0.4);
        }
        """);

    static async Task AssertBoardIsEmptyAsync(DemoPage page) => await page.Page.WaitForFunctionAsync("""
        () => {
          const canvas = document.getElementById("strokes");
          return canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.every(value => value === 0);
        }
        """);
}
