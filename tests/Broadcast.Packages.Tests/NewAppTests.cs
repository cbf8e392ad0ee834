namespace Broadcast.Packages.Tests;

/// <summary>Tests that the packages work in new apps.</summary>
[Collection(nameof(NewProjectsCollection))]
public sealed class NewAppTests(PackageFeed feed, NewProjects projects)
{
    [Fact]
    public async Task NewApp_WithTwoLines_Broadcasts()
    {
        await using var app = await RunningApp.StartAsync(feed.CommandLine, projects.NewApp);

        await app.AssertBroadcastsAsync();
    }

    [Fact]
    public async Task Template_Installed_CreatesAppThatBroadcasts()
    {
        await using var app = await RunningApp.StartAsync(feed.CommandLine, projects.TemplateApp);

        await app.AssertBroadcastsAsync();
        var page = await app.GetPageAsync();
        Assert.Contains("<title>TemplateApp</title>", page, StringComparison.Ordinal);
        Assert.Contains("new WebSocket(", page, StringComparison.Ordinal);
    }
}
