using System.Globalization;
using System.Text.RegularExpressions;
using Microsoft.AspNetCore.Builder;

namespace Broadcast.Middleware.Tests.Documentation;

/// <summary>Tests the examples, the limits and the code of docs/guides/subscription-filters.md.</summary>
public sealed partial class FilterDocumentationTests
{
    static readonly string Page = File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "subscription-filters.md"));

    [Fact]
    public void SubscriptionFiltersPage_Examples_AreValidFilters()
    {
        var examples = FilterExample().Matches(Page);
        Assert.InRange(examples.Count, 8, 30);
        Assert.All(examples, example => Assert.True(SubscriptionFilter.TryParse(example.Groups[1].Value, out _, out var problem), problem));
    }

    [Fact]
    public void SubscriptionFiltersPage_Limits_MatchCode()
    {
        foreach (var limit in new[]
        {
            SubscriptionFilter.MaxTextLength, SubscriptionFilter.MaxTextDepth, SubscriptionFilter.MaxTextValues,
            MessageTags.MaxCount, MessageTags.MaxKeyLength, MessageTags.MaxValueLength,
        })
            Assert.Contains($"| {limit.ToString("N0", CultureInfo.InvariantCulture)} |", Page, StringComparison.Ordinal);
    }

    [Fact]
    public async Task ServerFilterSnippet_OrdersOfTwoRegions_ClientReceivesOnlyOwnRegion()
    {
        await using var app = await BroadcastApp.StartAsync(TestUsers.Add, app =>
        {
            FilterSnippets.Publish(app);
            app.Use((context, next) =>
            {
                if (context.Request.Query["region"] is [{ } region]) context.User = new([new([new("region", region)])]);
                return next(context);
            });
            FilterSnippets.ServerFilter(app);
        });
        await using var client = await RawClient.OpenAsync(app, "/orders?region=eu");
        using var http = new HttpClient { BaseAddress = new($"http://127.0.0.1:{app.Port}") };
        foreach (var order in new[] { "1/us", "2/eu" })
        {
            using var response = await http.PostAsync($"/orders/{order}", null, TestContext.Current.CancellationToken);
            response.EnsureSuccessStatusCode();
        }

        Assert.Equal("order 2", (await client.ReadFrameAsync()).Text);
    }

    [GeneratedRegex("^\\| `([^`]+)` \\|", RegexOptions.Multiline)]
    private static partial Regex FilterExample();
}
