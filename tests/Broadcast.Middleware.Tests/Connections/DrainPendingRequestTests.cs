using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Time.Testing;

namespace Broadcast.Middleware.Tests.Connections;

/// <summary>Tests a drain while the app still processes a request.</summary>
public sealed class DrainPendingRequestTests
{
    static readonly TimeSpan DrainTimeout = TimeSpan.FromSeconds(10);

    readonly TaskCompletionSource _asked = new(TaskCreationOptions.RunContinuationsAsynchronously);
    readonly TaskCompletionSource _answer = new(TaskCreationOptions.RunContinuationsAsynchronously);
    readonly SlowAuthorizer _authorizer;

    public DrainPendingRequestTests() => _authorizer = new SlowAuthorizer(_asked, _answer.Task);

    [Fact]
    public async Task Drain_RequestInProgress_AnswersBeforeClosingWithCode1001()
    {
        await using var app = await StartAsync();
        await using var client = await JsonClient.OpenAsync(app);
        await JsonClient.SendTextAsync(client, Pay(1));
        await _asked.Task.WaitAsync(Eventually.Patience, TestContext.Current.CancellationToken);

        var stopping = app.StopAsync();
        _answer.SetResult();

        await JsonClient.SucceedsAsync(client, 1);
        await JsonClient.EndsAsync(client, 1001);
        await stopping;
    }

    [Fact]
    public async Task Drain_RequestTakesMostOfDrainTimeout_AnswersBeforeClosingWithCode1001()
    {
        var time = new FakeTimeProvider();
        await using var app = await StartAsync(builder => builder.Services.AddSingleton<TimeProvider>(time));
        await using var client = await JsonClient.OpenAsync(app);
        var connection = (Connection)app.Registry.Connections.Single();
        await JsonClient.SendTextAsync(client, Pay(1));
        await _asked.Task.WaitAsync(Eventually.Patience, TestContext.Current.CancellationToken);

        app.Services.GetRequiredService<IHostApplicationLifetime>().StopApplication();
        time.Advance(DrainTimeout * 0.7);
        _answer.SetResult();

        await JsonClient.SucceedsAsync(client, 1);
        await Eventually.True(() =>
        {
            time.Advance(TimeSpan.FromMilliseconds(1));
            return connection.Writer.ClosingStatus is not null;
        });
        await JsonClient.EndsAsync(client, 1001);
    }

    [Fact]
    public async Task Drain_RequestNeverAnswered_ClosesWithoutDelayingOtherConnections()
    {
        var time = new FakeTimeProvider();
        await using var app = await StartAsync(builder => builder.Services.AddSingleton<TimeProvider>(time));
        await using var client = await JsonClient.OpenAsync(app);
        var connection = (Connection)app.Registry.Connections.Single();
        await using var other = await JsonClient.OpenAsync(app);
        await JsonClient.SendTextAsync(client, Pay(1));
        await _asked.Task.WaitAsync(Eventually.Patience, TestContext.Current.CancellationToken);

        app.Services.GetRequiredService<IHostApplicationLifetime>().StopApplication();

        await JsonClient.EndsAsync(other, 1001);
        // The server closes a busy connection after three quarters of the timeout.
        time.Advance(DrainTimeout * 0.7);
        await Eventually.True(() =>
        {
            time.Advance(TimeSpan.FromMilliseconds(1));
            return connection.Writer.ClosingStatus is not null;
        });
        Assert.Contains("\"disconnected\"", await JsonClient.ReadAsync(client), StringComparison.Ordinal);
        Assert.Equal(1001, (await client.ReadCloseAsync()).CloseCode);
        _answer.SetResult();
    }

    [Fact]
    public async Task Drain_NextRequestAlreadyReceived_DoesNotStartNextRequest()
    {
        await using var app = await StartAsync();
        await using var client = await JsonClient.OpenAsync(app);
        await JsonClient.SendTextAsync(client, Pay(1), Pay(2));
        await _asked.Task.WaitAsync(Eventually.Patience, TestContext.Current.CancellationToken);

        app.Services.GetRequiredService<IHostApplicationLifetime>().StopApplication();
        _answer.SetResult();

        await JsonClient.SucceedsAsync(client, 1);
        await JsonClient.EndsAsync(client, 1001);
        Assert.Equal(1, _authorizer.Requests);
    }

    [Fact]
    public async Task Drain_RequestArrivesBeforeCloseFrame_DoesNotStartRequest()
    {
        await using var app = await StartAsync();
        await using var client = await JsonClient.OpenAsync(app);
        var connection = (Connection)app.Registry.Connections.Single();

        // The drain first stops the message handling of a connection and then closes the connection. This client sends
        // a request between these two steps.
        Assert.True(connection.ReceiveGate.TryStopHandling());
        await JsonClient.SendTextAsync(client, Pay(1));
        await client.SendAsync(ClientFrame.CreateClose(1000));

        Assert.Equal(1000, (await client.ReadCloseAsync()).CloseCode);
        Assert.Equal(0, _authorizer.Requests);
    }

    Task<BroadcastApp> StartAsync(Action<WebApplicationBuilder>? configure = null, Action<BroadcastOptions>? options = null) => BroadcastApp.StartAsync(
        builder =>
        {
            builder.Services.AddSingleton<IGroupAuthorizer>(_authorizer);
            configure?.Invoke(builder);
        },
        options: options ?? (static options => options.DrainTimeout = DrainTimeout));

    static string Pay(int ackId) => $$"""{"type":"sendToGroup","group":"g","dataType":"text","data":"pay","ackId":{{ackId}}}""";

    /// <summary>
    /// An authorizer that delays the first request until the test answers. Later requests wait until their connection is aborted.
    /// </summary>
    sealed class SlowAuthorizer(TaskCompletionSource asked, Task answer) : IGroupAuthorizer
    {
        int _requests;

        public int Requests => Volatile.Read(ref _requests);

        public async ValueTask<bool> AuthorizeAsync(IBroadcastConnection connection, string group, GroupOperation operation)
        {
            var isFirst = Interlocked.Increment(ref _requests) == 1;
            asked.TrySetResult();
            await (isFirst ? answer : Task.Delay(Timeout.Infinite, connection.ConnectionAborted));
            return true;
        }
    }
}
