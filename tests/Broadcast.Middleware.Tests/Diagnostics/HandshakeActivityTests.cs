using System.Collections.Concurrent;
using System.Diagnostics;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Tests.Diagnostics;

/// <summary>Tests which filters run in the activity of the handshake. This activity lasts as long as the connection.</summary>
public sealed class HandshakeActivityTests
{
    readonly ConcurrentDictionary<string, string?> _activities = new();

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Filters_OfWebSocket_OnlyConnectFilterRunsInHandshakeActivity(bool isRaw)
    {
        using var listener = Listen();
        await using var app = await StartAsync();
        await using (var client = await (isRaw ? RawClient.OpenAsync(app) : JsonClient.OpenAsync(app)))
        {
            await client.SendAsync(ClientFrame.CreateText("""{"type":"sendToGroup","group":"/ws","dataType":"text","data":"hello"}"""));
            await Eventually.True(() => _activities.ContainsKey("message"));
        }

        await Eventually.True(() => _activities.ContainsKey("disconnect"));

        Assert.NotNull(_activities["connect"]);
        Assert.Null(_activities["message"]);
        Assert.Null(_activities["remove"]);
        Assert.Null(_activities["disconnect"]);
    }

    [Fact]
    public async Task Filters_OfEventStream_DisconnectFilterRunsOutsideHandshakeActivity()
    {
        using var listener = Listen();
        await using var app = await StartAsync();
        await using (await EventClient.OpenAsync(app))
        {
        }

        await Eventually.True(() => _activities.ContainsKey("disconnect"));

        Assert.NotNull(_activities["connect"]);
        Assert.Null(_activities["remove"]);
        Assert.Null(_activities["disconnect"]);
    }

    static ActivityListener Listen()
    {
        var listener = new ActivityListener
        {
            ShouldListenTo = static source => source.Name == "Microsoft.AspNetCore",
            Sample = static (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllData,
        };
        ActivitySource.AddActivityListener(listener);
        return listener;
    }

    Task<BroadcastApp> StartAsync() => BroadcastApp.StartAsync(
        builder => builder.Services.AddSingleton<IConnectionRegistry>(new FaultyRegistry { OnRemove = _ => Note("remove") }),
        app => app.MapBroadcast("/ws")
            .UseConnect((context, next) => NoteAsync("connect", next(context)))
            .Use((context, next) => NoteAsync("message", next(context)))
            .UseDisconnect((context, next) => NoteAsync("disconnect", next(context))));

    Task NoteAsync(string work, Task next)
    {
        Note(work);
        return next;
    }

    void Note(string work) => _activities[work] = Activity.Current?.Id;
}
