using System.Diagnostics;
using System.Net;

namespace WebDemo.Tests;

/// <summary>Tests the sensors at /sensors.</summary>
[Collection<WsCollection>]
public sealed class SensorsTests(DemoServer server)
{
    [Fact]
    public async Task Post_Number_ReachesOpenAndLaterPages()
    {
        using var open = await server.ConnectAsync("/sensors");
        using var response = await PostAsync("hall", "21.5");
        Assert.Equal(HttpStatusCode.NoContent, response.StatusCode);
        using var later = await server.ConnectAsync("/sensors");
        foreach (var socket in new[] { open, later })
        {
            // The later page also receives the readings of the other tests.
            var reading = await socket.ReceiveJsonAsync();
            while (reading.GetProperty("sensor").GetString() != "hall") reading = await socket.ReceiveJsonAsync();
            Assert.Equal(21.5, reading.GetProperty("value").GetDouble());
        }
    }

    [Theory]
    [InlineData("")]
    [InlineData("warm")]
    [InlineData("NaN")]
    [InlineData("1e999")]
    [InlineData("123456789012345678901234567890123")]
    public async Task Post_NoNumber_Returns400WithHint(string body)
    {
        using var response = await PostAsync("kitchen", body);
        Assert.Equal(HttpStatusCode.BadRequest, response.StatusCode);
        Assert.Contains("Send one number in the body", await response.Content.ReadAsStringAsync(TestContext.Current.CancellationToken), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Script_Started_SendsReadingsOfFiveSensors()
    {
        using var page = await server.ConnectAsync("/sensors");
        var script = Path.Combine(AppContext.BaseDirectory, "wwwroot/sensors.sh");
        using var process = Process.Start("sh", [script, server.Url.GetLeftPart(UriPartial.Authority)]);
        try
        {
            var sensors = new HashSet<string>();
            while (sensors.Count < 5) sensors.Add((await page.ReceiveJsonAsync()).GetProperty("sensor").GetString()!);
        }
        finally
        {
            process.Kill(entireProcessTree: true);
        }
    }

    Task<HttpResponseMessage> PostAsync(string sensor, string body) =>
        server.Http.PostAsync($"/sensors/{sensor}", new StringContent(body), TestContext.Current.CancellationToken);
}
