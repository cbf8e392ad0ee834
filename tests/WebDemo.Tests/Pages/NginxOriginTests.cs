using System.Text.RegularExpressions;

namespace WebDemo.Tests;

/// <summary>
/// Tests a browser that opens a page and a WebSocket through nginx. The settings of docs/operations/proxies.md keep the
/// header Host.
/// </summary>
[Trait("Run", "More")]
public sealed partial class NginxOriginTests(BrowserFixture browser)
{
    const string Upgrade = "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;";

    [Fact]
    public async Task WebSocket_DocumentedSettings_Opens()
    {
        var page = await File.ReadAllTextAsync(Path.Combine(AppContext.BaseDirectory, "proxies.md"), TestContext.Current.CancellationToken);
        var location = NginxBlock().Match(page).Groups[1].Value;
        Assert.Contains("proxy_pass http://127.0.0.1:5000;", location, StringComparison.Ordinal);
        await using var server = await DemoServer.CreateAsync("--environment", "Production");
        await using var nginx = await NginxProxy.StartAsync(
            server.Url, "", location.Replace("http://127.0.0.1:5000", server.Url.GetLeftPart(UriPartial.Authority), StringComparison.Ordinal));
        await using var opened = await browser.OpenAsync(new Uri(nginx.Url, "/count"));
        Assert.Equal("open", await ConnectAsync(opened));
    }

    [Fact]
    public async Task WebSocket_HostWithoutPortInDevelopment_Opens()
    {
        await using var server = await DemoServer.CreateAsync("--environment", "Development");
        await using var nginx = await NginxProxy.StartAsync(server.Url, $"{Upgrade} proxy_set_header Host $host;");
        await using var page = await browser.OpenAsync(new Uri(nginx.Url, "/count"));
        Assert.Equal("open", await ConnectAsync(page));
    }

    /// <summary>
    /// Tests settings that replace the header Host. The variable $host has no port, and without a setting, nginx sends
    /// the host of the server.
    /// </summary>
    [Theory]
    [InlineData("proxy_set_header Host $host;", "http://127.0.0.1. ")]
    [InlineData("", "http://127.0.0.1:{0}. ")]
    public async Task WebSocket_HostReplaced_FailsWithWarningUntilOriginIsListed(string setting, string requestOrigin)
    {
        await using var server = await DemoServer.CreateAsync();
        await using var nginx = await NginxProxy.StartAsync(server.Url, $"{Upgrade} {setting}");
        var origin = nginx.Url.GetLeftPart(UriPartial.Authority);
        await using var page = await browser.OpenAsync(new Uri(nginx.Url, "/count"));

        Assert.Equal("closed with 1006", await ConnectAsync(page));
        page.ForgetErrors();
        var warning = await server.WaitForOutputAsync("AllowedOrigins");
        Assert.Contains(origin + ",", warning, StringComparison.Ordinal);
        Assert.Contains(string.Format(null, requestOrigin, server.Url.Port), warning, StringComparison.Ordinal);

        await server.KillAsync();
        await server.StartAsync("--Broadcast:AllowedOrigins:0=" + origin);
        Assert.Equal("open", await ConnectAsync(page));
    }

    /// <summary>
    /// Tests nginx without settings. In this configuration, nginx uses HTTP/1.0 and removes the headers of the
    /// handshake.
    /// </summary>
    [Fact]
    public async Task WebSocket_NginxWithoutSettings_FailsWithWarning()
    {
        await using var server = await DemoServer.CreateAsync("--environment", "Development");
        await using var nginx = await NginxProxy.StartAsync(server.Url, "");
        await using var page = await browser.OpenAsync(new Uri(nginx.Url, "/count"));

        Assert.Equal("closed with 1006", await ConnectAsync(page));
        page.ForgetErrors();
        Assert.Contains("use HTTP/1.1", await server.WaitForOutputAsync("If a proxy has removed the headers"), StringComparison.Ordinal);
    }

    static Task<string> ConnectAsync(DemoPage page) => page.Page.EvaluateAsync<string>("""
        () => new Promise(resolve => {
            const socket = new WebSocket(`ws://${location.host}/ws`)
            socket.onopen = () => resolve('open')
            socket.onclose = event => resolve(`closed with ${event.code}`)
        })
        """);

    [GeneratedRegex("```nginx\n(.*?)```", RegexOptions.Singleline)]
    private static partial Regex NginxBlock();
}
