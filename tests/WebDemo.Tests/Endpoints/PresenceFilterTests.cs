using System.Collections.Concurrent;
using System.Net.WebSockets;
using System.Runtime.CompilerServices;
using Broadcast.Middleware;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.DependencyInjection;

namespace WebDemo.Tests;

/// <summary>The filter of the presence URLs.</summary>
public sealed class PresenceFilterTests
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Disconnect_AnyClient_EndsItsWatch()
    {
        var presence = new RecordingPresence();
        var builder = WebApplication.CreateSlimBuilder();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        builder.Services.AddSingleton<IPresence>(presence).AddBroadcast();
        await using var app = builder.Build();
        app.MapBroadcast("/rooms/{room}/presence").Use<PresenceFilter>();
        await app.StartAsync(Token);
        var url = new UriBuilder(app.Urls.Single()) { Scheme = "ws", Path = "/rooms/blue/presence" }.Uri;
        using var ann = new ClientWebSocket();
        using var bob = new ClientWebSocket();
        await ann.ConnectAsync(url, Token);
        var annsWatch = await presence.NextWatchAsync();
        await bob.ConnectAsync(url, Token);
        var bobsWatch = await presence.NextWatchAsync();

        await ann.CloseAsync(WebSocketCloseStatus.NormalClosure, null, Token);

        Assert.Equal("/rooms/blue", await annsWatch.WaitAsync(TestLimits.Wait, Token));
        Assert.False(bobsWatch.IsCompleted);
    }

    /// <summary>A presence whose watches report when they end.</summary>
    sealed class RecordingPresence : IPresence
    {
        readonly ConcurrentQueue<Task<string>> _watches = new();
        readonly SemaphoreSlim _started = new(0);

        /// <summary>Waits for the next watch. Returns a task that completes with the group when the watch has ended.</summary>
        public async Task<Task<string>> NextWatchAsync()
        {
            Assert.True(await _started.WaitAsync(TestLimits.Wait, Token));
            Assert.True(_watches.TryDequeue(out var watch));
            return watch;
        }

        public async IAsyncEnumerable<Broadcast.Middleware.PresenceChange> WatchAsync(
            string group, [EnumeratorCancellation] CancellationToken cancellationToken = default)
        {
            var ended = new TaskCompletionSource<string>(TaskCreationOptions.RunContinuationsAsynchronously);
            await using var registration = cancellationToken.Register(() => ended.SetResult(group));
            _watches.Enqueue(ended.Task);
            _started.Release();
            await Task.Delay(Timeout.Infinite, cancellationToken);
            yield break;
        }

        public ValueTask<long> CountAsync(string group, CancellationToken cancellationToken = default) => throw new NotSupportedException();

        public ValueTask<IReadOnlyList<PresenceMember>> GetMembersAsync(string group, CancellationToken cancellationToken = default) =>
            throw new NotSupportedException();

        public ValueTask<bool> SetStateAsync(
            string connectionId, string group, ReadOnlyMemory<byte> state, CancellationToken cancellationToken = default) =>
            throw new NotSupportedException();
    }
}
