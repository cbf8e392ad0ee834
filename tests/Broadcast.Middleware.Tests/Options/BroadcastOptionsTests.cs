using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Broadcast.Middleware.Tests.Options;

public sealed class BroadcastOptionsTests
{
    static readonly BroadcastOptionsValidator Validator = new();

    [Fact]
    public void Options_Default_HaveDocumentedValuesAndAreValid()
    {
        var options = new BroadcastOptions();
        Assert.Equal(65_536, options.MaxMessageBytes);
        Assert.Equal(1024, options.MaxSmallFragments);
        Assert.Equal(1_048_576, options.MaxBacklogBytes);
        Assert.Equal(TimeSpan.FromSeconds(15), options.KeepAliveInterval);
        Assert.Equal(TimeSpan.FromSeconds(20), options.KeepAliveTimeout);
        Assert.Equal(TimeSpan.FromSeconds(5), options.CloseTimeout);
        Assert.True(Validator.Validate("", options).Succeeded);
    }

    [Theory]
    [InlineData(nameof(BroadcastOptions.MaxMessageBytes), 1, 1 << 30)]
    [InlineData(nameof(BroadcastOptions.MaxSmallFragments), 1, 1 << 20)]
    [InlineData(nameof(BroadcastOptions.MaxBacklogBytes), 1024, 1 << 30)]
    public void Validate_NumberOutOfRange_NamesOptionAndRange(string option, int least, int most)
    {
        Assert.Null(ProblemWith(option, least));
        Assert.Null(ProblemWith(option, most));
        foreach (var outside in new[] { least - 1, most + 1, int.MinValue, int.MaxValue })
            Assert.Contains($"{option} is {outside}. Set it from {least} to {most}.", ProblemWith(option, outside), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(nameof(BroadcastOptions.KeepAliveInterval), "00:00:01", "1.00:00:00", true)]
    [InlineData(nameof(BroadcastOptions.KeepAliveTimeout), "00:00:01", "1.00:00:00", true)]
    [InlineData(nameof(BroadcastOptions.CloseTimeout), "00:00:00.0100000", "01:00:00", false)]
    public void Validate_TimeOutOfRange_NamesOptionAndRange(string option, string least, string most, bool orInfinite)
    {
        var (first, last) = (TimeSpan.Parse(least, null), TimeSpan.Parse(most, null));
        Assert.Null(ProblemWith(option, first));
        Assert.Null(ProblemWith(option, last));
        foreach (var outside in new[] { first - TimeSpan.FromTicks(1), last + TimeSpan.FromTicks(1), TimeSpan.Zero, TimeSpan.MinValue, TimeSpan.MaxValue })
            Assert.Contains($"{option} is {outside}. Set it from {least} to {most}", ProblemWith(option, outside), StringComparison.Ordinal);
        Assert.Equal(orInfinite, ProblemWith(option, Timeout.InfiniteTimeSpan) is null);
    }

    [Fact]
    public void Validate_MaxBacklogBytesBelowMaxMessageBytes_Fails()
    {
        Assert.True(Validator.Validate("", new() { MaxMessageBytes = 2000, MaxBacklogBytes = 2000 }).Succeeded);
        var result = Validator.Validate("", new() { MaxMessageBytes = 2001, MaxBacklogBytes = 2000 });
        Assert.Contains("MaxMessageBytes is 2001, but MaxBacklogBytes is 2000. Lower MaxMessageBytes, or raise MaxBacklogBytes.", result.FailureMessage, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Start_InvalidOptions_ReportsAllProblemsAtOnce()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.Services.AddBroadcast("news", options =>
            (options.MaxMessageBytes, options.MaxSmallFragments, options.CloseTimeout) = (0, -1, TimeSpan.Zero));
        await using var app = builder.Build();
        var error = await Assert.ThrowsAsync<OptionsValidationException>(() => app.StartAsync(TestContext.Current.CancellationToken));
        Assert.Equal(3, error.Failures.Count());
        Assert.All(error.Failures, failure => Assert.StartsWith("BroadcastOptions of broadcast 'news': ", failure, StringComparison.Ordinal));
        foreach (var part in new[] { "MaxMessageBytes is 0", "MaxSmallFragments is -1", "CloseTimeout is 00:00:00", "Set it from" })
            Assert.Contains(part, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Start_InvalidOptionsOfDefaultBroadcast_Fails()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.Services.AddBroadcast(options => options.MaxMessageBytes = 0);
        await using var app = builder.Build();
        var error = await Assert.ThrowsAsync<OptionsValidationException>(() => app.StartAsync(TestContext.Current.CancellationToken));
        Assert.StartsWith("BroadcastOptions: MaxMessageBytes is 0", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void MapBroadcast_InvalidOptions_Throws()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.Services.AddBroadcast(options => options.MaxMessageBytes = 0);
        var app = builder.Build();
        Assert.Throws<OptionsValidationException>(() => app.MapBroadcast("/ws"));
    }

    [Fact]
    public void AddBroadcast_ConfigurationAndCode_ApplyInCallOrder()
    {
        var services = new ServiceCollection();
        services.AddBroadcast(Section(("MaxMessageBytes", "100"), ("MaxSmallFragments", "5"), ("KeepAliveTimeout", "00:00:30")));
        services.AddBroadcast(options => options.MaxSmallFragments++);
        var options = Options(services, "");
        Assert.Equal(100, options.MaxMessageBytes);
        Assert.Equal(6, options.MaxSmallFragments);
        Assert.Equal(TimeSpan.FromSeconds(30), options.KeepAliveTimeout);
        Assert.Equal(TimeSpan.FromSeconds(15), options.KeepAliveInterval);
    }

    [Fact]
    public void Configuration_EveryOption_IsBound()
    {
        var services = new ServiceCollection();
        services.AddBroadcast(Section(
            ("MaxMessageBytes", "2000"), ("MaxSmallFragments", "3"), ("MaxBacklogBytes", "4000"), ("KeepAliveInterval", "-00:00:00.001"),
            ("KeepAliveTimeout", "00:00:06"), ("CloseTimeout", "00:00:07"), ("MaxMessagesPerSecond", "8"), ("MaxMessageBurst", "9"),
            ("FirstMessageTimeout", "00:00:10"), ("MaxConnections", "11"), ("MaxConnectionsPerUser", "12"),
            ("MaxConnectionsPerAddress", "13"), ("AllowedOrigins:0", "https://example.com"), ("AllowedOrigins:1", "http://localhost:3000"),
            ("SlowConsumer", "SkipToLatest"), ("SendTimeout", "00:00:14"), ("CloseOnAuthenticationExpiration", "false"),
            ("RevalidationInterval", "00:00:15"), ("DrainTimeout", "00:00:16"),
            ("MaxGroupsPerConnection", "17"), ("MaxEmptyGroups", "18"), ("MaxPresenceStateBytes", "19"),
            ("RecoveryTimeout", "00:00:20"), ("MaxDisconnectedSessions", "21"), ("MaxUnacknowledgedBytes", "2200"), ("MaxUnacknowledgedMessages", "23"),
            ("MaxTotalUnacknowledgedBytes", "2400"), ("GroupScope", "shop"), ("RawSubprotocols:0", "chat"), ("AllowClientFilters", "true"),
            ("EventStreamRetryDelay", "00:00:25"), ("HeartbeatMessage", "beat"), ("HeartbeatInterval", "00:00:27"), ("CompressMessagesAbove", "28"),
            ("MessageIdWindow", "00:00:29"), ("MaxMessageIds", "30"),
            ("Groups:/rooms/*:HistoryMessages", "50"), ("Groups:/rooms/*:HistoryBytes", "5000"), ("Groups:/rooms/*:HistoryAge", "00:10:00"),
            ("Groups:/rooms/*:ReplayOnJoin", "20"), ("Groups:/prices:SlowConsumer", "Conflate"),
            ("Groups:/prices:RetainLatestPerKey", "true"), ("Groups:/prices:MaxRetainedKeys", "31"), ("Groups:/prices:MaxRetainedBytes", "3200"),
            ("Groups:/prices:RetainedAge", "00:33:00")));
        var options = Options(services, "");
        Assert.Equal((2000, 3, 4000), (options.MaxMessageBytes, options.MaxSmallFragments, options.MaxBacklogBytes));
        Assert.Equal(Timeout.InfiniteTimeSpan, options.KeepAliveInterval);
        Assert.Equal((6, 7), (options.KeepAliveTimeout.Seconds, options.CloseTimeout.Seconds));
        Assert.Equal((8, 9), (options.MaxMessagesPerSecond, options.MaxMessageBurst));
        Assert.Equal((11, 12, 13), (options.MaxConnections, options.MaxConnectionsPerUser, options.MaxConnectionsPerAddress));
        Assert.Equal(["https://example.com", "http://localhost:3000"], options.AllowedOrigins);
        Assert.Equal((SlowConsumer.SkipToLatest, false), (options.SlowConsumer, options.CloseOnAuthenticationExpiration));
        Assert.Equal((10, 14), (options.FirstMessageTimeout.Seconds, options.SendTimeout.Seconds));
        Assert.Equal((15, 16), (options.RevalidationInterval.Seconds, options.DrainTimeout.Seconds));
        Assert.Equal((17, 18, 19), (options.MaxGroupsPerConnection, options.MaxEmptyGroups, options.MaxPresenceStateBytes));
        Assert.Equal((20, 21, 2200), (options.RecoveryTimeout.Seconds, options.MaxDisconnectedSessions, options.MaxUnacknowledgedBytes));
        Assert.Equal((23, 2400), (options.MaxUnacknowledgedMessages, options.MaxTotalUnacknowledgedBytes));
        Assert.Equal("shop", options.GroupScope);
        Assert.Equal(["chat"], options.RawSubprotocols);
        Assert.True(options.AllowClientFilters);
        // A configuration file cannot set the delegate IsOriginAllowed.
        Assert.Null(options.IsOriginAllowed);
        Assert.Equal((25, 27, "beat"), (options.EventStreamRetryDelay?.Seconds, options.HeartbeatInterval.Seconds, options.HeartbeatMessage));
        Assert.Equal(28, options.CompressMessagesAbove);
        Assert.Equal((29, 30), (options.MessageIdWindow.Seconds, options.MaxMessageIds));
        Assert.Equal(37, typeof(BroadcastOptions).GetProperties().Length);
        var (rooms, prices) = (options.Groups["/rooms/*"], options.Groups["/prices"]);
        Assert.Equal((50, 5000, 20), (rooms.HistoryMessages, rooms.HistoryBytes, rooms.ReplayOnJoin));
        Assert.Equal((TimeSpan.FromMinutes(10), null), (rooms.HistoryAge, rooms.SlowConsumer));
        Assert.Equal((0, SlowConsumer.Conflate), (prices.HistoryMessages, prices.SlowConsumer));
        Assert.Equal((false, true, 31), (rooms.RetainLatestPerKey, prices.RetainLatestPerKey, prices.MaxRetainedKeys));
        Assert.Equal((3200, TimeSpan.FromMinutes(33)), (prices.MaxRetainedBytes, prices.RetainedAge));
        Assert.Equal(9, typeof(GroupOptions).GetProperties().Length);
    }

    [Fact]
    public void Options_OfNamedBroadcasts_AreSeparate()
    {
        var services = new ServiceCollection();
        services.AddBroadcast(options => options.MaxMessageBytes = 1);
        services.AddBroadcast("code", options => options.MaxMessageBytes = 2);
        services.AddBroadcast("section", Section(("MaxMessageBytes", "3")));
        Assert.Equal(1, Options(services, "").MaxMessageBytes);
        Assert.Equal(2, Options(services, "code").MaxMessageBytes);
        Assert.Equal(3, Options(services, "section").MaxMessageBytes);
    }

    [Fact]
    public void AddBroadcast_NullArguments_Throw()
    {
        var services = new ServiceCollection();
        Assert.Throws<ArgumentNullException>("services", () => default(IServiceCollection)!.AddBroadcast());
        Assert.Throws<ArgumentNullException>("name", () => services.AddBroadcast((string)null!));
        Assert.Throws<ArgumentNullException>("configuration", () => services.AddBroadcast((IConfiguration)null!));
    }

    static string? ProblemWith(string option, object value)
    {
        var options = new BroadcastOptions();
        typeof(BroadcastOptions).GetProperty(option)!.SetValue(options, value);
        // MaxMessageBytes and MaxBacklogBytes depend on each other. So the other option needs a matching value.
        if (option == nameof(options.MaxMessageBytes)) options.MaxBacklogBytes = 1 << 30;
        if (option == nameof(options.MaxBacklogBytes)) options.MaxMessageBytes = 1;
        return Validator.Validate("", options).FailureMessage;
    }

    static IConfiguration Section(params (string Key, string Value)[] values) => new ConfigurationBuilder()
        .AddInMemoryCollection(values.Select(pair => KeyValuePair.Create("Broadcast:" + pair.Key, (string?)pair.Value)))
        .Build().GetSection("Broadcast");

    static BroadcastOptions Options(ServiceCollection services, string name)
    {
        using var provider = services.BuildServiceProvider();
        return provider.GetRequiredService<IOptionsMonitor<BroadcastOptions>>().Get(name);
    }
}
