using System.Net;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Broadcast.Middleware.Tests.Dashboard.Access;

/// <summary>Tests that only allowed users can open the dashboard.</summary>
public sealed class DashboardAccessTests
{
    static readonly string[] _urls = ["/broadcast", "/broadcast/", "/broadcast/dashboard.js", "/broadcast/ws"];

    [Fact]
    public async Task Dashboard_WithoutPolicyInProduction_IsHiddenAndLogNamesMissingCall()
    {
        await using var app = await StartAsync(static _ => { });
        foreach (var url in _urls) Assert.Equal(404, await GetStatusAsync(app, url));
        Assert.Contains(
            "MapBroadcastDashboard(\"/broadcast\").RequireAuthorization(", Assert.Single(GetWarnings(app)), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Dashboard_AllowAnonymous_StaysHidden()
    {
        await using var app = await StartAsync(static dashboard => dashboard.RequireAuthorization("Operator").AllowAnonymous());
        foreach (var url in _urls) Assert.Equal(404, await GetStatusAsync(app, url, TestUsers.As("ann"), TestUsers.In("Operator")));
    }

    [Fact]
    public async Task Dashboard_WithPolicy_OpensOnlyForUsersThatMeetPolicy()
    {
        await using var app = await StartAsync(static dashboard => dashboard.RequireAuthorization("Operator"));
        foreach (var url in _urls)
        {
            Assert.Equal(401, await GetStatusAsync(app, url));
            Assert.Equal(403, await GetStatusAsync(app, url, TestUsers.As("bob")));
        }

        Assert.Contains(app.Logs.GetSnapshot(), static record =>
            record.Level == LogLevel.Information && record.Category!.StartsWith("Microsoft.AspNetCore.Authorization.", StringComparison.Ordinal));

        Assert.Equal(200, await GetStatusAsync(app, "/broadcast/", TestUsers.As("ann"), TestUsers.In("Operator")));
        Assert.Equal(101, await GetStatusAsync(app, "/broadcast/ws", TestUsers.As("ann"), TestUsers.In("Operator")));
    }

    [Fact]
    public async Task Dashboard_PolicyRefusesRequests_LogNamesPolicyOncePerStatusAndKindOfUser()
    {
        await using var app = await StartAsync(static dashboard => dashboard.RequireAuthorization("Operator"));
        // The log ignores the other endpoints of the app, and requests that the policy allows.
        Assert.Equal(401, await GetStatusAsync(app, "/admin"));
        Assert.Equal(403, await GetStatusAsync(app, "/admin", TestUsers.As("bob")));
        Assert.Equal(200, await GetStatusAsync(app, "/admin", TestUsers.As("ann"), TestUsers.In("Operator")));
        Assert.Equal(200, await GetStatusAsync(app, "/broadcast/", TestUsers.As("ann"), TestUsers.In("Operator")));
        Assert.Empty(GetWarnings(app));

        foreach (var url in _urls)
        {
            Assert.Equal(403, await GetStatusAsync(app, url, TestUsers.As("bob")));
            Assert.Equal(401, await GetStatusAsync(app, url));
        }

        Assert.Equal(
            [
                .. new[] { "403 to a signed-in", "401 to an anonymous" }.Select(static answer =>
                    $"The dashboard at /broadcast answers with status {answer} user, because its authorization policy does not allow this user. " +
                    "Sign in as an allowed user. Or change the policy of MapBroadcastDashboard(\"/broadcast\").RequireAuthorization(\"Operator\"), " +
                    "or the claims of the user. The server logs each status and kind of user only once."),
            ],
            GetWarnings(app));
    }

    [Theory]
    [InlineData("Host", "localhost", 200)]
    [InlineData("Host", "127.0.0.1:5000", 200)]
    [InlineData("Host", "[::1]:5000", 200)]
    [InlineData("Host", "app.localhost", 200)]
    [InlineData("Host", "localhost.evil.example", 404)]
    [InlineData("Host", "192.168.1.7", 404)]
    [InlineData("X-Forwarded-For", "192.168.1.7", 404)]
    [InlineData("Forwarded", "for=192.168.1.7", 404)]
    public async Task Dashboard_InDevelopment_OpensOnlyForRequestsFromThisComputer(string header, string value, int status)
    {
        await using var app = await DashboardViewer.StartAppAsync();
        Assert.Equal(status, await GetStatusAsync(app, "/broadcast/", (header, value)));
    }

    [Fact]
    public async Task Dashboard_RefusedForSeveralReasons_LogsEachReasonOnce()
    {
        await using var app = await BroadcastApp.StartAsync(DashboardViewer.InDevelopment, static app =>
        {
            app.Use(static (context, next) =>
            {
                if (context.Request.Headers["X-Test-Address"] is [{ } address]) context.Connection.RemoteIpAddress = IPAddress.Parse(address);
                return next(context);
            });
            app.MapBroadcastDashboard("/broadcast");
        });
        for (var i = 0; i < 2; i++)
        {
            Assert.Equal(404, await GetStatusAsync(app, "/broadcast/", ("Host", "app.example")));
            Assert.Equal(404, await GetStatusAsync(app, "/broadcast/", ("X-Forwarded-For", "192.168.1.7")));
            Assert.Equal(404, await GetStatusAsync(app, "/broadcast/", ("X-Test-Address", "192.168.1.7")));
            Assert.Equal(200, await GetStatusAsync(app, "/broadcast/"));
        }

        Assert.Collection(
            GetWarnings(app),
            static warning => Assert.Contains("the host in the URL is not localhost.", warning, StringComparison.Ordinal),
            static warning => Assert.Contains("a proxy has forwarded the request.", warning, StringComparison.Ordinal),
            static warning => Assert.Contains("the request does not come from this computer.", warning, StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("http://localhost", 101)]
    [InlineData("http://localhost:3000", 403)]
    [InlineData("http://evil.example", 403)]
    [InlineData("null", 403)]
    public async Task WebSocket_RequestWithOrigin_IsAcceptedOnlyFromOwnOrigin(string origin, int status)
    {
        await using var app = await DashboardViewer.StartAppAsync(options: static all => all.AllowedOrigins.Add("*"));
        Assert.Equal(status, await GetStatusAsync(app, "/broadcast/ws", ("Origin", origin)));
    }

    [Fact]
    public async Task Page_AnyRequest_HasSecurityHeadersAndETag()
    {
        await using var app = await DashboardViewer.StartAppAsync();
        await using var client = await RawClient.ConnectAsync(app);
        var redirect = await client.HandshakeAsync("/broadcast", NoUpgrade);
        Assert.Equal((302, "./broadcast/"), (redirect.Status, redirect["Location"]));
        var page = await client.HandshakeAsync("/broadcast/", NoUpgrade);
        Assert.Contains("<title>Broadcast dashboard</title>", page.Body, StringComparison.Ordinal);
        Assert.DoesNotContain("unsafe", page["Content-Security-Policy"], StringComparison.Ordinal);
        Assert.StartsWith("default-src 'none'; script-src 'self';", page["Content-Security-Policy"], StringComparison.Ordinal);
        Assert.Equal("nosniff", page["X-Content-Type-Options"]);
        var again = await client.HandshakeAsync("/broadcast/", [.. NoUpgrade, ("Connection", "close"), ("If-None-Match", page["ETag"])]);
        Assert.Equal((304, ""), (again.Status, again.Body));
    }

    [Fact]
    public async Task MapBroadcastDashboard_WithoutBroadcast_ThrowsAndNamesMissingCall()
    {
        var exception = await Assert.ThrowsAsync<InvalidOperationException>(() =>
            BroadcastApp.StartAsync(map: static app => app.MapBroadcastDashboard("/broadcast", "orders")));
        Assert.Contains("AddBroadcast(\"orders\")", exception.Message, StringComparison.Ordinal);
    }

    /// <summary>Returns the messages of the dashboard. Fails if a message is not a warning.</summary>
    static IEnumerable<string> GetWarnings(BroadcastApp app) => app.Logs.GetSnapshot()
        .Where(static record => record.Category == "Broadcast.Dashboard")
        .Select(static record =>
        {
            Assert.Equal(LogLevel.Warning, record.Level);
            return record.Message;
        });

    static (string, string?)[] NoUpgrade => [("Connection", null), ("Upgrade", null)];

    static async Task<int> GetStatusAsync(BroadcastApp app, string url, params (string Name, string? Value)[] headers)
    {
        await using var client = await RawClient.ConnectAsync(app);
        var isSocket = url.EndsWith("/ws", StringComparison.Ordinal);
        var answer = await client.HandshakeAsync(url, isSocket ? headers : [.. NoUpgrade, .. headers]);
        return answer.Status;
    }

    static Task<BroadcastApp> StartAsync(Action<IEndpointConventionBuilder> configure) => BroadcastApp.StartAsync(
        static builder =>
        {
            TestUsers.Add(builder);
            builder.Services.AddAuthorizationBuilder().AddPolicy("Operator", static policy => policy.RequireRole("Operator"));
        },
        app =>
        {
            configure(app.MapBroadcastDashboard("/broadcast"));
            app.MapGet("/admin", static () => "admin").RequireAuthorization("Operator");
        });
}
