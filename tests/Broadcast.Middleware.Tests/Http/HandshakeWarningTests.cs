using Microsoft.Extensions.Logging;

namespace Broadcast.Middleware.Tests.Http;

/// <summary>
/// Tests the warnings about refused handshakes. A browser shows only close code 1006 for a refused handshake. So the
/// server logs a warning for the first refusal of each kind.
/// </summary>
public sealed class HandshakeWarningTests
{
    [Fact]
    public async Task OriginRefusal_FirstOfEachOrigin_LogsWarningWithOriginHostAndOption()
    {
        await using var app = await BroadcastApp.StartAsync();

        for (var i = 0; i < 3; i++)
        {
            await RefuseAsync(app, 403, ("Origin", "https://shop.example:8443"), ("Host", "backend:8080"));
            await RefuseAsync(app, 403, ("Origin", "https://OTHER.example"), ("Host", "backend:8080"));
            await RefuseAsync(app, 403, ("Origin", "null"), ("Host", "backend:8080"));
        }

        var warnings = Warnings(app);
        Assert.Equal(3, warnings.Count);
        Assert.StartsWith(
            "The server refuses pages of the origin https://shop.example:8443, because the app received the request at http://backend:8080. ",
            warnings[0], StringComparison.Ordinal);
        Assert.Contains("https://OTHER.example", warnings[1], StringComparison.Ordinal);
        Assert.Contains("origin null", warnings[2], StringComparison.Ordinal);
        Assert.All(warnings, static warning => Assert.Contains("AllowedOrigins", warning, StringComparison.Ordinal));
        Assert.All(warnings, static warning => Assert.Contains("UseForwardedHeaders", warning, StringComparison.Ordinal));
    }

    [Fact]
    public async Task OriginRefusal_ManyOrigins_LogsAtMost100Warnings()
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var client = await RawClient.ConnectAsync(app);
        for (var i = 0; i < 150; i++) Assert.Equal(403, (await client.HandshakeAsync(changes: ("Origin", $"https://{i}.example"))).Status);
        Assert.Equal(100, Warnings(app).Count);
    }

    [Theory]
    [InlineData("https://example.com/path")]
    [InlineData("gibberish")]
    [InlineData("x://a\u001bb")]
    [InlineData("http://example.com\r\nOrigin: http://evil.example")]
    public async Task OriginRefusal_InvalidOrigin_LogsWarningWithoutOriginText(string origin)
    {
        await using var app = await BroadcastApp.StartAsync();
        await RefuseAsync(app, 403, ("Origin", origin));
        await RefuseAsync(app, 403, ("Origin", "https://" + new string('x', 300)));
        Assert.Contains("origin (invalid),", Assert.Single(Warnings(app)), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Handshake_UpgradeHeadersRemovedByProxy_LogsWarningOnce()
    {
        await using var app = await BroadcastApp.StartAsync();
        for (var i = 0; i < 3; i++)
        {
            await RefuseAsync(app, 400, ("Upgrade", null), ("Connection", "close"));
            await RefuseAsync(app, 400, ("Connection", "keep-alive"));
        }

        Assert.Contains("If a proxy has removed the headers", Assert.Single(Warnings(app)), StringComparison.Ordinal);
    }

    [Fact]
    public async Task EventStreamWithoutOrigin_RepeatedCrossSiteRequests_LogWarningOnce()
    {
        await using var app = await BroadcastApp.StartAsync();
        for (var i = 0; i < 3; i++)
        {
            await using var client = await EventClient.AskAsync(app, headers: [("Accept", "text/event-stream"), ("Sec-Fetch-Site", "cross-site")]);
            Assert.Equal(403, client.Status);
        }

        Assert.Contains("without an Origin header", Assert.Single(Warnings(app)), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(503)]
    [InlineData(429)]
    public async Task ConnectionLimit_SeveralRefusals_LogsWarningOnce(int status)
    {
        await using var app = await BroadcastApp.StartAsync(options: options =>
        {
            if (status == 503) options.MaxConnections = 1;
            else options.MaxConnectionsPerAddress = 1;
        });
        await using var client = await RawClient.OpenAsync(app);

        for (var i = 0; i < 3; i++) await RefuseAsync(app, status);

        var warning = Assert.Single(Warnings(app));
        Assert.Contains(status == 503 ? "(MaxConnections" : "(MaxConnectionsPerAddress)", warning, StringComparison.Ordinal);
    }

    /// <summary>
    /// Tests a page from a development server on another port. The page connects directly or through the proxy of that
    /// server.
    /// </summary>
    [Theory]
    [InlineData("http://localhost:5173", "Development", 101)]
    [InlineData("https://localhost:5173", "Development", 101)]
    [InlineData("http://127.0.0.1:5173", "Development", 101)]
    [InlineData("http://[::1]:5173", "Development", 101)]
    [InlineData("http://app.localhost:5173", "Development", 101)]
    [InlineData("http://localhost.evil.example", "Development", 403)]
    [InlineData("http://127.0.0.1.evil.example", "Development", 403)]
    [InlineData("http://evil.example", "Development", 403)]
    [InlineData("null", "Development", 403)]
    [InlineData("ftp://localhost", "Development", 403)]
    [InlineData("http://localhost:5173", "Production", 403)]
    [InlineData("http://localhost:5173", "Staging", 403)]
    public async Task Origin_LoopbackOnAnotherPort_IsAllowedOnlyInDevelopment(string origin, string environment, int status)
    {
        await using var app = await BroadcastApp.StartAsync(builder => builder.Environment.EnvironmentName = environment);
        Assert.Equal(status, (await RawClient.TryAsync(app, ("Origin", origin), ("Host", "localhost:5000"))).Status);
    }

    static async Task RefuseAsync(BroadcastApp app, int status, params (string, string?)[] headers) =>
        Assert.Equal(status, (await RawClient.TryAsync(app, headers)).Status);

    static List<string> Warnings(BroadcastApp app) =>
        [.. app.Logs.GetSnapshot().Where(static record => record is { Level: LogLevel.Warning, Category: "Broadcast" }).Select(static record => record.Message)];
}
