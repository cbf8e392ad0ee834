using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.TestHost;
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
}
