namespace Broadcast.Packages.Tests;

/// <summary>Tests that new apps with the packages deliver messages.</summary>
[Collection(nameof(NewProjectsCollection))]
public sealed class NewAppTests(PackageFeed feed, NewProjects projects)
{
    [Fact]
    public async Task NewApp_WithTwoAddedLines_DeliversMessages()
    {
        await using var app = await RunningApp.StartAsync(feed.CommandLine, projects.NewApp);

        await app.AssertBroadcastsAsync();
    }

    [Fact]
    public async Task Template_Installed_CreatesAppThatDeliversMessages()
    {
        await using var app = await RunningApp.StartAsync(feed.CommandLine, projects.TemplateApp);

        await app.AssertBroadcastsAsync();
        var page = await app.GetPageAsync();
        Assert.Contains("<title>TemplateApp</title>", page, StringComparison.Ordinal);
        Assert.Contains("new WebSocket(", page, StringComparison.Ordinal);
    }
}
