using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.TestHost;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Broadcast.Middleware.Tests.Hosting;

/// <summary>
/// Tests that an app with a configuration error does not start, and that the exception names the problem and the fix.
/// </summary>
public sealed class StartupValidationTests
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task EndpointOptions_SeveralInvalid_AllAreReportedWithPattern()
    {
        var failures = await GetFailuresAsync(map: app => app.MapGroup("/api").MapBroadcast("/rooms/{room}", options =>
        {
            (options.MaxMessageBytes, options.MaxSmallFragments) = (0, -1);
            (options.CloseTimeout, options.SendTimeout) = (TimeSpan.Zero, TimeSpan.Zero);
            options.SlowConsumer = (SlowConsumer)7;
            options.MaxMessageBurst = 5;
            options.AllowedOrigins.Add("example.com");
        }));
        Assert.Equal(
        [
            "MaxMessageBytes is 0. Set it from 1 to 1073741824.",
            "MaxSmallFragments is -1. Set it from 1 to 1048576.",
            "SendTimeout is 00:00:00. Set it from 00:00:01 to 1.00:00:00, or to -00:00:00.001 (Timeout.InfiniteTimeSpan).",
            "CloseTimeout is 00:00:00. Set it from 00:00:00.0100000 to 01:00:00.",
            "SlowConsumer is 7. Set it to Disconnect or SkipToLatest or Conflate.",
            "AllowedOrigins contains 'example.com', which is not an origin. Write an origin as browsers do, such as " +
            "https://example.com or http://localhost:3000, without a user, path or query. " +
            "Or write https://*.example.com for all subdomains, or * for all origins.",
            "MaxMessageBurst is 5, but MaxMessagesPerSecond is not set. Set MaxMessagesPerSecond, or remove MaxMessageBurst.",
        ],
        failures.Select(static failure => failure.Replace("MapBroadcast(\"/api/rooms/{room}\"): ", "", StringComparison.Ordinal)));
        Assert.All(failures, static failure => Assert.StartsWith("MapBroadcast(\"/api/rooms/{room}\"): ", failure, StringComparison.Ordinal));
    }

    [Fact]
    public async Task EndpointMaxMessageBytes_AboveMaxBacklogBytes_IsRejected() => Assert.Equal(
        ["MapBroadcast(\"/ws\"): MaxMessageBytes is 2001, but MaxBacklogBytes is 2000. Lower MaxMessageBytes, or raise MaxBacklogBytes."],
        await GetFailuresAsync(
            options => options.MaxMessageBytes = options.MaxBacklogBytes = 2000,
            app => app.MapBroadcast("/ws", options => options.MaxMessageBytes = 2001)));

    [Fact]
    public async Task MaxMessageBurst_WithoutRate_IsRejected() => Assert.Equal(
        ["BroadcastOptions: MaxMessageBurst is 5, but MaxMessagesPerSecond is not set. " +
            "Set MaxMessagesPerSecond, or remove MaxMessageBurst."],
        await GetFailuresAsync(options => options.MaxMessageBurst = 5));

    [Fact]
    public async Task ReplayOnJoin_AboveHistoryMessages_IsRejected() => Assert.Equal(
        ["BroadcastOptions: Groups['/rooms/*'].ReplayOnJoin is 20, but HistoryMessages is 10. " +
            "Lower ReplayOnJoin, or raise HistoryMessages."],
        await GetFailuresAsync(options => options.Groups["/rooms/*"] = new() { HistoryMessages = 10, ReplayOnJoin = 20 }));

    [Theory]
    [InlineData(30)]
    [InlineData(31)]
    public async Task DrainTimeout_NotBelowShutdownTimeout_IsRejected(int seconds) => Assert.Equal(
        [$"BroadcastOptions: DrainTimeout is 00:00:{seconds}, but HostOptions.ShutdownTimeout is 00:00:30. " +
            "Lower DrainTimeout, or raise HostOptions.ShutdownTimeout."],
        await GetFailuresAsync(options => options.DrainTimeout = TimeSpan.FromSeconds(seconds)));

    [Theory]
    [InlineData(31)]
    [InlineData(-1)]
    public async Task DrainTimeout_BelowOrWithoutShutdownTimeout_IsAccepted(int shutdownSeconds)
    {
        var shutdown = shutdownSeconds < 0 ? Timeout.InfiniteTimeSpan : TimeSpan.FromSeconds(shutdownSeconds);
        await using var app = Build(
            options => options.DrainTimeout = TimeSpan.FromSeconds(30),
            configure: builder => builder.Services.Configure<HostOptions>(host => host.ShutdownTimeout = shutdown));
        await app.StartAsync(Token);
    }

    [Fact]
    public async Task DrainTimeout_ZeroWithZeroShutdownTimeout_IsAccepted()
    {
        await using var app = Build(
            options => options.DrainTimeout = TimeSpan.Zero,
            configure: builder => builder.Services.Configure<HostOptions>(host => host.ShutdownTimeout = TimeSpan.Zero));
        await app.StartAsync(Token);
    }

    [Fact]
    public void DrainTimeout_WithoutHost_IsAccepted()
    {
        using var services = new ServiceCollection()
            .AddBroadcast(options => options.DrainTimeout = TimeSpan.FromMinutes(1)).Services.BuildServiceProvider();
        Assert.Equal(TimeSpan.FromMinutes(1), services.GetRequiredService<IOptionsMonitor<BroadcastOptions>>().CurrentValue.DrainTimeout);
    }

    [Fact]
    public async Task ConfigurationKeys_Unknown_AreReportedWithNearestNames()
    {
        var failures = await GetFailuresAsync(configure: builder => AddSection(
            builder, ("MaxMesageBytes", "100"), ("Groups:/rooms/*:HistoryMesages", "1"), ("Redis:Prefix", "shop")));
        Assert.Equal(2, failures.Count);
        Assert.Contains(failures, static failure => failure.StartsWith(
            "BroadcastOptions: The configuration key 'Broadcast:MaxMesageBytes' is not an option. Rename it to MaxMessageBytes or ",
            StringComparison.Ordinal));
        Assert.Contains(failures, static failure => failure.StartsWith(
            "BroadcastOptions: The configuration key 'Broadcast:Groups:/rooms/*:HistoryMesages' is not an option. " +
            "Rename it to HistoryMessages or ",
            StringComparison.Ordinal));
        Assert.All(failures, static failure => Assert.EndsWith(", or remove it.", failure, StringComparison.Ordinal));
    }

    [Fact]
    public async Task ConfigurationKeys_KnownInAnyCaseAndRedisSection_AreAccepted()
    {
        await using var app = Build(configure: builder => AddSection(
            builder, ("maxmessagebytes", "100"), ("AllowedOrigins:0", "https://example.com"),
            ("Groups:/rooms/*:historyMessages", "1"), ("redis:Prefix", "shop")));
        await app.StartAsync(Token);
        Assert.Equal(100, app.Services.GetRequiredService<IOptionsMonitor<BroadcastOptions>>().CurrentValue.MaxMessageBytes);
    }

    [Fact]
    public async Task ConfigurationKeys_UnknownForNamedBroadcast_AreReportedWithBroadcastName()
    {
        var failures = await GetFailuresAsync(configure: builder =>
        {
            var section = CreateSection(("MaxMesageBytes", "100"));
            builder.Services.AddBroadcast("news", section);
        });
        Assert.StartsWith(
            "BroadcastOptions of broadcast 'news': The configuration key 'Broadcast:MaxMesageBytes'", Assert.Single(failures), StringComparison.Ordinal);
    }

    [Fact]
    public async Task ConfigurationRoot_WithKeysOfTheApp_IsAccepted()
    {
        await using var app = Build(configure: static builder => builder.Services.AddBroadcast(builder.Configuration));
        await app.StartAsync(Token);
    }

    [Theory]
    [InlineData("/ws", "/ws")]
    [InlineData("/ws", "/WS/")]
    [InlineData("/rooms/{room}", "/Rooms/{room}")]
    [InlineData("/rooms/{room}", "/rooms/{id}")]
    public async Task MapBroadcast_SameUrlsTwice_IsRejected(string first, string second)
    {
        var error = await GetErrorAsync<InvalidOperationException>(map: app =>
        {
            app.MapBroadcast(first);
            app.MapBroadcast(second);
        });
        Assert.Equal(
            $"MapBroadcast(\"{first}\") and MapBroadcast(\"{second}\") have the same URLs. " +
            "Remove one of the calls, change its pattern, or separate the endpoints with RequireHost.",
            error.Message);
    }

    [Fact]
    public async Task MapBroadcast_SameUrlsForTwoBroadcasts_IsRejected()
    {
        var error = await GetErrorAsync<InvalidOperationException>(
            map: app =>
            {
                app.MapBroadcast("/ws").RequireHost("a.test");
                app.MapBroadcast("/ws", "news").RequireHost("A.test");
            },
            configure: builder => builder.Services.AddBroadcast("news"));
        Assert.Contains("MapBroadcast(\"/ws\") and MapBroadcast(\"/ws\") have the same URLs.", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task MapBroadcast_SamePatternWithDifferentHostOrConstraint_IsAccepted()
    {
        await using var app = Build(map: app =>
        {
            app.MapBroadcast("/ws");
            app.MapBroadcast("/ws").RequireHost("a.test");
            app.MapBroadcast("/ws").RequireHost("b.test");
            app.MapBroadcast("/rooms/{room:int}");
            app.MapBroadcast("/rooms/{room}");
            app.MapBroadcast("/rooms/lobby");
        });
        await app.StartAsync(Token);
    }

    [Fact]
    public async Task FilterOfEndpoint_ServiceMissing_IsRejectedWithPattern()
    {
        var error = await GetErrorAsync<InvalidOperationException>(map: app => app.MapBroadcast("/ws").Use<NeedyFilter>());
        Assert.Equal(
            "MapBroadcast(\"/ws\"): The filter NeedyFilter cannot be created. " +
            $"Unable to resolve service for type '{typeof(MissingService)}' while attempting to activate '{typeof(NeedyFilter)}'. " +
            "Register the services that the filter needs, or fix its constructor.",
            error.Message);
    }

    [Fact]
    public async Task FilterOfBroadcast_ConstructorThrows_IsRejectedWithPattern()
    {
        var error = await GetErrorAsync<InvalidOperationException>(
            configure: builder => builder.Services.AddBroadcast().Use<BrokenFilter>());
        Assert.StartsWith(
            "MapBroadcast(\"/ws\"): The filter BrokenFilter cannot be created. The test broke it. ", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Start_SameUrlTwiceOnHostWithUseEndpoints_Fails()
    {
        using var host = new HostBuilder().ConfigureWebHost(web => web
            .UseTestServer()
            .ConfigureServices(services => services.AddLogging(logging => logging.ClearProviders()).AddRouting().AddBroadcast())
            .Configure(app => app.UseRouting().UseEndpoints(endpoints =>
            {
                endpoints.MapBroadcast("/ws");
                endpoints.MapBroadcast("/ws");
            }))).Build();
        var error = await Assert.ThrowsAsync<InvalidOperationException>(() => host.StartAsync(Token));
        Assert.Contains("have the same URLs", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Start_InvalidOptionOnKestrelOrTestServer_Fails(bool isTestServer)
    {
        await using var app = Build(
            map: static app => app.MapBroadcast("/ws", static options => options.MaxMessageBytes = 0),
            configure: builder =>
            {
                if (isTestServer) builder.WebHost.UseTestServer();
            });
        await Assert.ThrowsAsync<OptionsValidationException>(() => app.StartAsync(Token));
    }

    static WebApplication Build(
        Action<BroadcastOptions>? options = null,
        Action<WebApplication>? map = null,
        Action<WebApplicationBuilder>? configure = null)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        builder.Services.AddBroadcast(options);
        configure?.Invoke(builder);
        var app = builder.Build();
        map?.Invoke(app);
        return app;
    }

    /// <summary>Starts an app with a configuration error and returns the exception.</summary>
    static async Task<TException> GetErrorAsync<TException>(
        Action<BroadcastOptions>? options = null,
        Action<WebApplication>? map = null,
        Action<WebApplicationBuilder>? configure = null) where TException : Exception
    {
        await using var app = Build(options, map ?? (static app => app.MapBroadcast("/ws")), configure);
        return await Assert.ThrowsAsync<TException>(() => app.StartAsync(Token));
    }

    static async Task<IReadOnlyList<string>> GetFailuresAsync(
        Action<BroadcastOptions>? options = null,
        Action<WebApplication>? map = null,
        Action<WebApplicationBuilder>? configure = null)
    {
        await using var app = Build(options, map, configure);
        var error = await Assert.ThrowsAsync<OptionsValidationException>(() => app.StartAsync(Token));
        return [.. error.Failures];
    }

    static void AddSection(WebApplicationBuilder builder, params (string Key, string Value)[] values) =>
        builder.Services.AddBroadcast(CreateSection(values));

    static IConfigurationSection CreateSection(params (string Key, string Value)[] values) => new ConfigurationBuilder()
        .AddInMemoryCollection(values.Select(static pair => KeyValuePair.Create("Broadcast:" + pair.Key, (string?)pair.Value)))
        .Build().GetSection("Broadcast");

    sealed class MissingService;

    sealed class NeedyFilter : IBroadcastFilter
    {
        public NeedyFilter(MissingService service) => ArgumentNullException.ThrowIfNull(service);
    }

    sealed class BrokenFilter : IBroadcastFilter
    {
        public BrokenFilter() => throw new NotSupportedException("The test broke it.");
    }
}
