using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.TestHost;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Broadcast.Middleware.Redis.Tests.Hosting;

public sealed class RedisBackplaneOptionsValidatorTests
{
    [Theory]
    [InlineData("", "localhost", "Prefix is empty")]
    [InlineData("a b", "localhost", "Prefix is 'a b'")]
    [InlineData("{a}", "localhost", "Prefix is '{a}'")]
    [InlineData("a\n", "localhost", "Prefix is 'a\n'")]
    [InlineData("a", "", "It names no server")]
    [InlineData("a", "localhost,nonsense=1", "Configuration is invalid")]
    public async Task AppStart_InvalidOption_ThrowsValidationException(string prefix, string configuration, string expectedError)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.WebHost.UseTestServer();
        builder.Logging.ClearProviders();
        builder.Services.AddBroadcast().AddRedis(configuration, options => options.Prefix = prefix);
        await using var app = builder.Build();
        var error = await Assert.ThrowsAsync<OptionsValidationException>(
            () => app.StartAsync(TestContext.Current.CancellationToken));
        Assert.Contains(expectedError, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Configuration_InvalidText_IsNotInTheError()
    {
        var services = new ServiceCollection();
        services.AddBroadcast().AddRedis("localhost,password=a,s3cret=1", options => options.Prefix = "a");
        using var provider = services.BuildServiceProvider();
        var monitor = provider.GetRequiredService<IOptionsMonitor<RedisBackplaneOptions>>();
        var error = Assert.Throws<OptionsValidationException>(() => monitor.Get(""));
        Assert.Contains("Configuration is invalid", error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("s3cret", error.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public void Options_WithSeveralErrors_ReportAllErrorsWithBroadcastName()
    {
        var services = new ServiceCollection();
        services.AddBroadcast("news").AddRedis("localhost", options =>
        {
            options.PublishTimeout = default;
            options.WhenUnreachable = (WhenUnreachable)7;
            options.MaxOutboxBytes = 0;
            options.RepairMessages = 0;
            options.RepairBytes = 0;
            options.RepairAge = default;
            options.CheckInterval = default;
            options.NodeTimeout = TimeSpan.FromSeconds(16);
        });
        using var provider = services.BuildServiceProvider();
        var monitor = provider.GetRequiredService<IOptionsMonitor<RedisBackplaneOptions>>();
        var error = Assert.Throws<OptionsValidationException>(() => monitor.Get("news"));
        Assert.Equal(9, error.Failures.Count());
        var options = typeof(RedisBackplaneOptions).GetProperties()
            .Where(option => option.Name != nameof(RedisBackplaneOptions.Configuration));
        foreach (var option in options)
        {
            var start = $"RedisBackplaneOptions of broadcast 'news': {option.Name} is ";
            Assert.Contains(error.Failures, failure => failure.StartsWith(start, StringComparison.Ordinal));
        }

        Assert.Contains(error.Failures, failure => failure.EndsWith(
            "NodeTimeout is 16 seconds. Set it from 3 seconds to 15 seconds.", StringComparison.Ordinal));
    }

    [Fact]
    public async Task AppStart_UnknownConfigurationKeys_ReportsNearestNames()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.WebHost.UseTestServer();
        builder.Logging.ClearProviders();
        builder.Services.AddBroadcast().AddRedis(CreateSection(("Prefx", "shop"), ("ConfigurationString", "localhost")));
        await using var app = builder.Build();
        var error = await Assert.ThrowsAsync<OptionsValidationException>(
            () => app.StartAsync(TestContext.Current.CancellationToken));
        // The misspelled options are also missing.
        Assert.Equal(4, error.Failures.Count());
        Assert.Contains(error.Failures, static failure => failure.StartsWith(
            "RedisBackplaneOptions: The configuration key 'Broadcast:Redis:Prefx' is not an option. Rename it to Prefix or ",
            StringComparison.Ordinal));
        Assert.Contains(error.Failures, static failure => failure.StartsWith(
            "RedisBackplaneOptions: The configuration key 'Broadcast:Redis:ConfigurationString' is not an option. " +
            "Rename it to Configuration or ",
            StringComparison.Ordinal));
    }

    [Fact]
    public void ConfigurationKeys_UnknownForNamedBroadcast_AreReportedOnlyForThisBroadcast()
    {
        var services = new ServiceCollection();
        services.AddBroadcast("news").AddRedis(
            CreateSection(("Configuration", "localhost"), ("Prefix", "shop"), ("NodeTimeot", "00:00:05")));
        services.AddBroadcast().AddRedis("localhost", options => options.Prefix = "shop");
        using var provider = services.BuildServiceProvider();
        var monitor = provider.GetRequiredService<IOptionsMonitor<RedisBackplaneOptions>>();
        Assert.Equal("shop", monitor.Get("").Prefix);
        var error = Assert.Throws<OptionsValidationException>(() => monitor.Get("news"));
        Assert.StartsWith(
            "RedisBackplaneOptions of broadcast 'news': The configuration key 'Broadcast:Redis:NodeTimeot'",
            Assert.Single(error.Failures), StringComparison.Ordinal);
    }

    [Fact]
    public void ConfigurationKeys_LowerCaseAndNestedConfiguration_AreAccepted()
    {
        var defaults = new RedisBackplaneOptions { Configuration = "a:6379,password=b,ssl=true", Prefix = "shop" };
        var options = typeof(RedisBackplaneOptions).GetProperties()
            .Select(option => (option.Name.ToLowerInvariant(), option.GetValue(defaults)!.ToString()!));
        var services = new ServiceCollection();
        services.AddBroadcast().AddRedis(CreateSection([.. options, ("ConfigurationOptions:EndPoints:0", "a:6379")]));
        using var provider = services.BuildServiceProvider();
        var monitor = provider.GetRequiredService<IOptionsMonitor<RedisBackplaneOptions>>();
        Assert.Equal("a:6379,password=b,ssl=true", monitor.Get("").Configuration);
    }

    [Fact]
    public void ConfigurationRoot_WithKeysOfTheApp_IsAccepted()
    {
        var configuration = new ConfigurationBuilder()
            .AddInMemoryCollection(new Dictionary<string, string?> { ["AllowedHosts"] = "*", ["Prefix"] = "shop" }).Build();
        var services = new ServiceCollection();
        services.AddBroadcast().AddRedis(configuration, options => options.Configuration = "localhost");
        using var provider = services.BuildServiceProvider();
        Assert.Equal("shop", provider.GetRequiredService<IOptionsMonitor<RedisBackplaneOptions>>().Get("").Prefix);
    }

    static IConfigurationSection CreateSection(params (string Key, string Value)[] values) => new ConfigurationBuilder()
        .AddInMemoryCollection(
            values.Select(static pair => KeyValuePair.Create("Broadcast:Redis:" + pair.Key, (string?)pair.Value)))
        .Build().GetSection("Broadcast:Redis");
}
