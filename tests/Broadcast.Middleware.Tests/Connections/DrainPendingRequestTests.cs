using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace Broadcast.Middleware.Tests.Connections;

/// <summary>Tests how a drain treats a request that the app still handles.</summary>
public sealed class DrainPendingRequestTests
{
    readonly TaskCompletionSource _asked = new(TaskCreationOptions.RunContinuationsAsynchronously);
    readonly TaskCompletionSource _answer = new(TaskCreationOptions.RunContinuationsAsynchronously);

    [Fact]
    public async Task Drain_RequestInProgress_AnswersBeforeClosingWith1001()
    {
        await using var app = await StartAsync();
        await using var client = await JsonClient.OpenAsync(app);
        await JsonClient.SayAsync(client, """{"type":"sendToGroup","group":"g","dataType":"text","data":"pay","ackId":1}""");
        await _asked.Task;

        var stopping = app.StopAsync();
        _answer.SetResult();

        await JsonClient.SucceedsAsync(client, 1);
        await JsonClient.EndsAsync(client, 1001);
        await stopping;
    }

    [Fact]
    public async Task Drain_RequestNeverAnswered_ClosesWithoutDelayingOthers()
    {
        await using var app = await StartAsync();
        await using var client = await JsonClient.OpenAsync(app);
        await using var other = await JsonClient.OpenAsync(app);
        await JsonClient.SayAsync(client, """{"type":"sendToGroup","group":"g","dataType":"text","data":"pay","ackId":1}""");
        await _asked.Task;

        app.Services.GetRequiredService<IHostApplicationLifetime>().StopApplication();

        await JsonClient.EndsAsync(other, 1001);
        Assert.Contains("\"disconnected\"", await JsonClient.ReadAsync(client), StringComparison.Ordinal);
        Assert.Equal(1001, (await client.ReadCloseAsync()).CloseCode);
        _answer.SetResult();
    }

    Task<BroadcastApp> StartAsync() => BroadcastApp.StartAsync(
        builder => builder.Services.AddSingleton<IGroupAuthorizer>(new Slow(_asked, _answer.Task)),
        options: static options => options.DrainTimeout = TimeSpan.FromSeconds(10));

    sealed class Slow(TaskCompletionSource asked, Task answer) : IGroupAuthorizer
    {
        public async ValueTask<bool> AuthorizeAsync(IBroadcastConnection connection, string group, GroupOperation operation)
        {
            asked.TrySetResult();
            await answer;
            return true;
        }
    }
}
