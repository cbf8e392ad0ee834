using System.Net;
using System.Text.Json;

namespace WebDemo.Tests;

/// <summary>Tests the figures of the start page, and the QR code for a phone.</summary>
public sealed class StartPageTests
{
    [Fact]
    public async Task Figures_LanIsDisabled_CountPeopleAndDeliveriesWithoutPhoneUrl()
    {
        await using var server = await DemoServer.CreateAsync();
        using var visitor = await server.ConnectAsync("/live");
        using var reader = await server.ConnectAsync("/prices");
        JsonElement figures;
        do figures = await visitor.ReceiveJsonAsync();
        while (figures.GetProperty("people").GetInt32() != 2 || figures.GetProperty("messagesPerSecond").GetInt64() == 0 || !figures.TryGetProperty("p99", out _));
        Assert.False(figures.TryGetProperty("phoneUrl", out _));
        using var code = await server.Http.GetAsync("/phone.svg", TestContext.Current.CancellationToken);
        Assert.Equal(HttpStatusCode.NotFound, code.StatusCode);
    }

    [Fact]
    public async Task PhoneUrlAndQrCode_LanIsEnabled_AreReturned()
    {
        await using var server = await DemoServer.CreateAsync("--Lan=true");
        using var visitor = await server.ConnectAsync("/live");
        var figures = await visitor.ReceiveJsonAsync();
        Assert.EndsWith($":{server.Url.Port}/", figures.GetProperty("phoneUrl").GetString(), StringComparison.Ordinal);
        Assert.StartsWith("<svg", await server.Http.GetStringAsync("/phone.svg", TestContext.Current.CancellationToken), StringComparison.Ordinal);
    }
}
