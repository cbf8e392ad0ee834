using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.HttpOverrides;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Broadcast.Middleware.Tests.Http;

public sealed class AllowedOriginsTests
{
    [Theory]
    [InlineData("http://example.com", "example.com")]
    [InlineData("http://example.com", "example.com:80")]
    [InlineData("http://example.com:8080", "example.com:8080")]
    [InlineData("http://EXAMPLE.com", "example.COM")]
    [InlineData("http://127.0.0.1:5000", "127.0.0.1:5000")]
    [InlineData("http://[::1]:5000", "[::1]:5000")]
    [InlineData("http://xn--bcher-kva.example", "xn--bcher-kva.example")]
    public async Task Origin_SameHost_IsAllowed(string origin, string host) => Assert.Equal(101, await TryAsync(origin, host));

    /// <summary>Tests a proxy that uses HTTPS to the browser and HTTP to the app.</summary>
    [Theory]
    [InlineData("https://example.com", "example.com")]
    [InlineData("https://example.com", "example.com:443")]
    [InlineData("https://example.com:8443", "example.com:8443")]
    public async Task Origin_HttpsBehindTlsProxy_IsAllowed(string origin, string host) => Assert.Equal(101, await TryAsync(origin, host));

    [Theory]
    [InlineData("http://evil.example", "example.com")]
    [InlineData("http://sub.example.com", "example.com")]
    [InlineData("http://example.com.evil.example", "example.com")]
    [InlineData("http://example.com:8080", "example.com")]
    [InlineData("http://example.com", "example.com:8080")]
    [InlineData("https://example.com", "example.com:80")]
    [InlineData("null", "null")]
    [InlineData("", "example.com")]
    [InlineData("example.com", "example.com")]
    [InlineData("//example.com", "example.com")]
    [InlineData("ftp://example.com", "example.com")]
    [InlineData("file://example.com", "example.com")]
    [InlineData("http://example.com@evil.example", "example.com")]
    [InlineData("http://example.com, http://evil.example", "example.com")]
    [InlineData("%%%", "example.com")]
    [InlineData("http://example.com\r\nOrigin: http://example.com", "example.com")]
    [InlineData("http://example.com\r\nOrigin: http://evil.example", "example.com")]
    [InlineData("http://evil.example\r\nOrigin: http://example.com", "example.com")]
    public async Task Origin_OtherHostOrInvalid_IsRefusedWithStatus403(string origin, string host) => Assert.Equal(403, await TryAsync(origin, host));

    [Theory]
    [InlineData("https://friend.example", 101)]
    [InlineData("https://FRIEND.example", 101)]
    [InlineData("http://friend.example", 403)]
    [InlineData("https://friend.example:444", 403)]
    [InlineData("https://sub.friend.example", 403)]
    [InlineData("http://localhost:3000", 101)]
    [InlineData("http://localhost:3001", 403)]
    [InlineData("http://localhost", 101)] // The server always allows the host of the handshake.
    [InlineData("null", 403)]
    public async Task Origin_AllowedOriginsSet_AllowsListedAndSameHost(string origin, int status) =>
        Assert.Equal(status, await TryAsync(origin, "localhost", "https://friend.example", "http://localhost:3000"));

    /// <summary>
    /// Tests host names that are not ASCII. Browsers send the host of an origin in ASCII, in lower case and without the
    /// default port.
    /// </summary>
    [Theory]
    [InlineData("https://bücher.example", "https://xn--bcher-kva.example", 101)]
    [InlineData("https://BÜCHER.example", "https://xn--bcher-kva.example", 101)]
    [InlineData("https://bücher.example:8443", "https://xn--bcher-kva.example:8443", 101)]
    [InlineData("https://日本語.example", "https://xn--wgv71a119e.example", 101)]
    [InlineData("https://xn--bcher-kva.example", "https://xn--bcher-kva.example", 101)]
    [InlineData("http://[::1]:3000", "http://[::1]:3000", 101)]
    [InlineData("https://bücher.example", "http://xn--bcher-kva.example", 403)]
    [InlineData("https://bücher.example", "https://xn--bcher-kva.example:8443", 403)]
    [InlineData("https://bücher.example:8443", "https://xn--bcher-kva.example", 403)]
    [InlineData("https://bücher.example", "https://bucher.example", 403)]
    public async Task Origin_InternationalHost_MatchesUnicodeOrAsciiEntry(string listed, string origin, int status) =>
        Assert.Equal(status, await TryAsync(origin, "localhost", listed));

    [Theory]
    [InlineData("https://anyone.example")]
    [InlineData("null")]
    [InlineData("gibberish")]
    public async Task Origin_AllowedOriginsContainStar_IsAllowed(string origin) => Assert.Equal(101, await TryAsync(origin, "example.com", "*"));

    [Fact]
    public async Task Origin_AllowedOriginsContainNull_IsAllowed() => Assert.Equal(101, await TryAsync("null", "example.com", "null"));

    [Fact]
    public async Task Origin_Missing_IsAllowed() => Assert.Equal(101, await TryAsync(null, "example.com", "https://friend.example"));

    /// <summary>
    /// An attacker can forge a page that the browser loads without TLS. Such a page must not open a connection with
    /// TLS.
    /// </summary>
    [Theory]
    [InlineData("https://example.com", "example.com", 101)]
    [InlineData("https://example.com:8443", "example.com:8443", 101)]
    [InlineData("http://example.com", "example.com", 403)]
    [InlineData("http://example.com:8443", "example.com:8443", 403)]
    [InlineData("http://example.com:443", "example.com:443", 403)]
    [InlineData("http://friend.example", "example.com", 101)] // AllowedOrigins contains this origin.
    public async Task Origin_RequestOverTls_MustUseHttpsUnlessListed(string origin, string host, int status)
    {
        // A trusted proxy that terminates TLS reports the scheme of the browser's request to the app.
        await using var app = await BroadcastApp.StartAsync(
            map: app =>
            {
                app.UseForwardedHeaders(new() { ForwardedHeaders = ForwardedHeaders.XForwardedProto });
                app.MapBroadcast("/ws");
            },
            options: options => options.AllowedOrigins.Add("http://friend.example"));

        Assert.Equal(status, (await RawClient.TryAsync(app, ("Origin", origin), ("Host", host), ("X-Forwarded-Proto", "https"))).Status);
    }

    [Theory]
    [InlineData("cross-site", 403)]
    [InlineData("same-site", 403)]
    [InlineData("same-origin", 200)]
    [InlineData("none", 200)]
    [InlineData(null, 200)]
    public async Task EventStreamWithoutOrigin_AnySecFetchSite_IsRefusedOnlyFromOtherOrigins(string? site, int status)
    {
        await using var app = await BroadcastApp.StartAsync(options: options => options.AllowedOrigins.Add("https://friend.example"));

        await using var client = await EventClient.AskAsync(app, headers: [("Accept", "text/event-stream"), ("Sec-Fetch-Site", site)]);

        Assert.Equal(status, client.Status);
        await Eventually.True(() => app.Registry.Count == (status == 200 ? 1 : 0));
        if (status == 403) Assert.Contains("Origin", await client.ReadTextAsync(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task EventStream_FromListedOrigin_IsAllowed()
    {
        await using var app = await BroadcastApp.StartAsync(options: options => options.AllowedOrigins.Add("https://friend.example"));

        await using var client = await EventClient.AskAsync(
            app, headers: [("Accept", "text/event-stream"), ("Sec-Fetch-Site", "cross-site"), ("Origin", "https://friend.example")]);

        Assert.Equal(200, client.Status);
    }

    [Fact]
    public async Task EventStreamWithoutOrigin_AllowedOriginsContainStar_IsAllowed()
    {
        await using var app = await BroadcastApp.StartAsync(options: options => options.AllowedOrigins.Add("*"));

        await using var client = await EventClient.AskAsync(app, headers: [("Accept", "text/event-stream"), ("Sec-Fetch-Site", "cross-site")]);

        Assert.Equal(200, client.Status);
    }

    /// <summary>
    /// Tests the request of a browser when the user follows a link from another site. The answer explains the purpose
    /// of the URL.
    /// </summary>
    [Fact]
    public async Task Navigation_FromOtherSite_IsAnsweredWithStatus426()
    {
        await using var app = await BroadcastApp.StartAsync();

        await using var client = await EventClient.AskAsync(
            app, headers: [("Accept", "text/html, */*"), ("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate")]);

        Assert.Equal(426, client.Status);
    }

    [Fact]
    public async Task OriginRefusal_DebugLog_NamesOptionButNotOrigin()
    {
        await using var app = await BroadcastApp.StartAsync();

        var answer = await RawClient.TryAsync(app, ("Origin", "https://evil.example"));

        Assert.Equal(403, answer.Status);
        Assert.Null(answer["Retry-After"]);
        Assert.Contains("AllowedOrigins", answer.Body, StringComparison.Ordinal);
        var line = Assert.Single(app.Logs.GetSnapshot(), record => record.Level == LogLevel.Debug && record.Message.Contains("AllowedOrigins", StringComparison.Ordinal));
        Assert.Equal("Broadcast", line.Category);
        Assert.Contains("403", line.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("evil.example", line.Message, StringComparison.Ordinal);
        Assert.Equal(0, app.Registry.Count);
    }

    [Fact]
    public async Task AllowedOrigins_InvalidEntries_FailAtStart()
    {
        var exception = await Assert.ThrowsAsync<OptionsValidationException>(() => BroadcastApp.StartAsync(options: options =>
        {
            options.AllowedOrigins.Add("https://example.com/");
            options.AllowedOrigins.Add("https://fine.example");
            options.AllowedOrigins.Add("example.com");
            options.AllowedOrigins.Add("https://user@example.com");
            options.AllowedOrigins.Add("https://bücher.example");
        }));

        Assert.Contains("'https://example.com/'", exception.Message, StringComparison.Ordinal);
        Assert.Contains("'example.com'", exception.Message, StringComparison.Ordinal);
        Assert.Contains("'https://user@example.com'", exception.Message, StringComparison.Ordinal);
        Assert.Contains("without a user, path or query", exception.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("fine.example", exception.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("bücher.example", exception.Message, StringComparison.Ordinal);
        Assert.Equal(3, exception.Failures.Count());
    }

    [Theory]
    [InlineData("https://*.example.com", "https://app.example.com", 101)]
    [InlineData("https://*.example.com", "https://APP.Example.COM", 101)]
    [InlineData("https://*.example.com", "https://a.b_c.example.com", 101)]
    [InlineData("https://*.example.com:8443", "https://app.example.com:8443", 101)]
    [InlineData("https://*.bücher.example", "https://app.xn--bcher-kva.example", 101)]
    [InlineData("https://*.example.com", "https://example.com", 403)]
    [InlineData("https://*.example.com", "https://.example.com", 403)]
    [InlineData("https://*.example.com", "http://app.example.com", 403)]
    [InlineData("https://*.example.com", "https://app.example.com:8443", 403)]
    [InlineData("https://*.example.com:8443", "https://app.example.com", 403)]
    [InlineData("https://*.example.com", "https://evilexample.com", 403)]
    [InlineData("https://*.example.com", "https://evil.com/.example.com", 403)]
    [InlineData("https://*.example.com", "https://evil.com:1.example.com", 403)]
    [InlineData("https://*.example.com", "https://evil.com@app.example.com", 403)]
    [InlineData("https://*.example.com", "https://app.example.com.evil.com", 403)]
    public async Task Origin_WildcardEntry_AllowsOnlySubdomains(string listed, string origin, int status) =>
        Assert.Equal(status, await TryAsync(origin, "localhost", listed));

    [Theory]
    [InlineData("https://*.example.com", true)]
    [InlineData("http://*.localhost:3000", true)]
    [InlineData("https://*.bücher.example", true)]
    [InlineData("*.example.com", false)]
    [InlineData("https://*.", false)]
    [InlineData("https://*", false)]
    [InlineData("https://*example.com", false)]
    [InlineData("https://*.*.example.com", false)]
    [InlineData("https://app.*.example.com", false)]
    [InlineData("https://*.example.com/", false)]
    [InlineData("https://*.example.com:443", false)]
    public void IsValid_Wildcard_IsAllowedOnlyAsFirstLabel(string text, bool isValid) => Assert.Equal(isValid, OriginCheck.IsValid(text));

    [Fact]
    public async Task IsOriginAllowed_UnlistedOriginOfOtherHost_DecidesAdmission()
    {
        var asked = new List<string>();
        await using var app = await BroadcastApp.StartAsync(
            map: map =>
            {
                map.MapBroadcast("/ws");
                map.MapBroadcast("/own", options => options.IsOriginAllowed = null);
            },
            options: options =>
            {
                options.AllowedOrigins.Add("https://listed.example");
                options.IsOriginAllowed = origin =>
                {
                    asked.Add(origin);
                    return origin.EndsWith(".friend.example", StringComparison.Ordinal);
                };
            });

        Assert.Equal(101, (await RawClient.TryAsync(app, ("Origin", "https://listed.example"))).Status);
        Assert.Equal(101, (await RawClient.TryAsync(app, ("Origin", "http://localhost"))).Status);
        Assert.Equal(101, (await RawClient.TryAsync(app, ("Origin", null))).Status);
        Assert.Equal(101, (await RawClient.TryAsync(app, ("Origin", "https://a.friend.example"))).Status);
        Assert.Equal(403, (await RawClient.TryAsync(app, ("Origin", "https://evil.example"))).Status);
        Assert.Equal(403, (await RawClient.TryAsync(app, ("Origin", "null"))).Status);
        await using var other = await RawClient.ConnectAsync(app);
        Assert.Equal(403, (await other.HandshakeAsync("/own", ("Origin", "https://a.friend.example"))).Status);
        Assert.Equal(["https://a.friend.example", "https://evil.example", "null"], asked);
    }

    [Fact]
    public async Task IsOriginAllowed_Throws_FailsOnlyThatRequest()
    {
        await using var app = await BroadcastApp.StartAsync(
            options: options => options.IsOriginAllowed = static _ => throw new InvalidOperationException("boom"));
        Assert.Equal(500, (await RawClient.TryAsync(app, ("Origin", "https://a.example"))).Status);
        Assert.Equal(101, (await RawClient.TryAsync(app, ("Origin", null))).Status);
    }

    [Theory]
    [InlineData("*", true)]
    [InlineData("null", true)]
    [InlineData("https://example.com", true)]
    [InlineData("http://localhost:3000", true)]
    [InlineData("http://[::1]:3000", true)]
    [InlineData("chrome-extension://abcdefghijklmnop", true)]
    [InlineData("", false)]
    [InlineData(" https://example.com", false)]
    [InlineData("https://example.com/app", false)]
    [InlineData("https://example.com:443", false)] // Browsers omit the default port, so this entry could never match.
    [InlineData("https://example.com?x", false)]
    [InlineData("//example.com", false)]
    [InlineData("https://example.com#x", false)]
    [InlineData("https://", false)]
    [InlineData("https://user@example.com", false)]
    [InlineData("https://user:password@example.com", false)]
    [InlineData("https://@example.com", false)]
    [InlineData("https://bücher.example", true)]
    [InlineData("https://bücher.example/", false)]
    [InlineData("https://bücher.example:443", false)]
    [InlineData("https://user@bücher.example", false)]
    [InlineData("https://-bücher.example", false)] // This host name is invalid, so it has no ASCII form.
    [InlineData("https://xn--bücher.example", false)]
    public void Normalize_AnyText_AcceptsOnlyValidOrigins(string text, bool isOrigin) => Assert.Equal(isOrigin, OriginCheck.Normalize(text) is not null);

    static async Task<int> TryAsync(string? origin, string host, params string[] allowed)
    {
        await using var app = await BroadcastApp.StartAsync(options: options =>
        {
            foreach (var one in allowed) options.AllowedOrigins.Add(one);
        });
        return (await RawClient.TryAsync(app, ("Origin", origin), ("Host", host))).Status;
    }
}
