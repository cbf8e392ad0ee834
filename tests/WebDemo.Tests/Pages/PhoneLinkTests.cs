using System.Net.Sockets;
using Microsoft.AspNetCore.Builder;
using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace WebDemo.Tests;

/// <summary>Tests the setting Lan, which lets a phone in the same network open the demo.</summary>
public sealed class PhoneLinkTests(BrowserFixture browser)
{
    [Fact]
    public async Task StartPage_ServerListensOnAllAddresses_ShowsUrlAndQrCode()
    {
        await using var server = await DemoServer.CreateAsync("--Lan=true", "--urls=http://*:0");
        using var visitor = await server.ConnectAsync("/live");
        var phoneUrl = (await visitor.ReceiveJsonAsync()).GetProperty("phoneUrl").GetString()!;
        Assert.EndsWith($":{server.Url.Port}/", phoneUrl, StringComparison.Ordinal);
        // The server listens on the address that the phone uses.
        using var phone = new TcpClient();
        await phone.ConnectAsync(new Uri(phoneUrl).Host, server.Url.Port, TestContext.Current.CancellationToken);
        Assert.StartsWith("<svg", await server.Http.GetStringAsync("/phone.svg", TestContext.Current.CancellationToken), StringComparison.Ordinal);

        await using var ann = await browser.OpenAsync(server.Url);
        await Expect(ann.Page.GetByRole(AriaRole.Link, new() { Name = phoneUrl })).ToHaveAttributeAsync("href", phoneUrl);
        var code = ann.Page.GetByRole(AriaRole.Img, new() { Name = $"QR code of {phoneUrl}" });
        await Expect(code).ToBeVisibleAsync();
        // An image that cannot be loaded has no natural width.
        await Expect(code).Not.ToHaveJSPropertyAsync("naturalWidth", 0);
    }

    [Theory]
    [InlineData("true", null, "http://*:5000")]
    [InlineData("true", "http://127.0.0.1:8080", "http://127.0.0.1:8080")]
    [InlineData("false", null, null)]
    public void Listen_WithAndWithoutUrls_SelectsAddresses(string lan, string? urls, string? expected)
    {
        // This builder reads no settings of the environment.
        var builder = WebApplication.CreateEmptyBuilder(new());
        builder.Configuration["Lan"] = lan;
        builder.Configuration["urls"] = urls;
        PhoneLink.Listen(builder);
        Assert.Equal(expected, builder.WebHost.GetSetting("urls"));
    }
}
