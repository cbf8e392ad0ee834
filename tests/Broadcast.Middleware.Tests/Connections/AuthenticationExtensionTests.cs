using System.Security.Claims;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;
using static Broadcast.Middleware.Testing.TestClientOptions;

namespace Broadcast.Middleware.Tests.Connections;

/// <summary>Tests the methods with which the app extends or ends the authentication of a connection.</summary>
public sealed class AuthenticationExtensionTests
{
    static readonly TimeSpan Minute = TimeSpan.FromMinutes(1);

    // The maximum time between two heartbeats.
    static readonly TimeSpan Beat = TimeSpan.FromSeconds(5);

    readonly FakeTimeProvider _time = new();
    readonly InMemoryCluster _cluster = new();

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Extend_SameUser_ReplacesUserAndExpiration()
    {
        await using var app = await StartAsync();
        await using var client = await OpenAsync(app);
        var connection = app.Registry.Connections.Single();
        var user = CreateUser("ann");

        Assert.True(await app.Broadcaster.ExtendAuthenticationAsync(connection.Id, user, _time.GetUtcNow() + (3 * Minute), Token));

        Assert.Same(user, connection.User);
        _time.Advance(2 * Minute);
        await client.AssertOpenAsync();
        Assert.True(await app.Broadcaster.ExtendAuthenticationAsync(connection.Id, user, null, Token));
        _time.Advance(TimeSpan.FromDays(1));
        await client.AssertOpenAsync();
        // The app can also move the expiration to an earlier time.
        Assert.True(await app.Broadcaster.ExtendAuthenticationAsync(connection.Id, user, _time.GetUtcNow(), Token));
        _time.Advance(Beat);
        Assert.Equal(1008, await client.ClosedWithAsync());
    }

    [Fact]
    public async Task Extend_ConnectionWithoutExpiration_SetsExpiration()
    {
        await using var app = await StartAsync();
        await using var client = await RawClient.OpenAsync(app, TestUsers.As("ann"));
        _time.Advance(TimeSpan.FromDays(1));
        Assert.True(await app.Broadcaster.ExtendAuthenticationAsync(app.Registry.Connections.Single().Id, CreateUser("ann"), _time.GetUtcNow() + Minute, Token));
        _time.Advance(Minute + Beat);
        Assert.Equal(1008, await client.ClosedWithAsync());
    }

    [Fact]
    public async Task Extend_OtherUserOrUnknownConnection_ReturnsFalse()
    {
        await using var app = await StartAsync();
        await using var client = await OpenAsync(app);
        var connection = app.Registry.Connections.Single();

        Assert.False(await app.Broadcaster.ExtendAuthenticationAsync(connection.Id, CreateUser("bob"), null, Token));
        Assert.False(await app.Broadcaster.ExtendAuthenticationAsync("unknown", CreateUser("ann"), null, Token));

        _time.Advance(Minute + Beat);
        Assert.Equal(1008, await client.ClosedWithAsync());
    }

    [Fact]
    public async Task ExtendOrEnd_InvalidArgumentOrCanceledToken_Throws()
    {
        await using var app = await StartAsync();
        await Assert.ThrowsAnyAsync<ArgumentException>(async () => await app.Broadcaster.ExtendAuthenticationAsync("", CreateUser("ann"), null, Token));
        await Assert.ThrowsAnyAsync<ArgumentException>(async () => await app.Broadcaster.ExtendAuthenticationAsync("1", null!, null, Token));
        var error = await Assert.ThrowsAsync<ArgumentException>(async () => await app.Broadcaster.ExtendAuthenticationAsync("1", new(new ClaimsIdentity()), null, Token));
        Assert.Contains("not authenticated", error.Message, StringComparison.Ordinal);
        error = await Assert.ThrowsAsync<ArgumentException>(async () => await app.Broadcaster.ExtendAuthenticationAsync("1", new(new ClaimsIdentity("Test")), null, Token));
        Assert.Contains("no ID", error.Message, StringComparison.Ordinal);
        await Assert.ThrowsAnyAsync<ArgumentException>(async () => await app.Broadcaster.EndAuthenticationAsync("", Token));
        var canceled = new CancellationToken(canceled: true);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () => await app.Broadcaster.ExtendAuthenticationAsync("1", CreateUser("ann"), null, canceled));
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () => await app.Broadcaster.EndAuthenticationAsync("1", canceled));
    }

    [Fact]
    public async Task Extend_CustomUserIdProvider_ComparesIdsOfProvider()
    {
        await using var app = await StartAsync(configure: static services => services.AddSingleton<IUserIdProvider, UpperCaseIds>());
        await using var client = await OpenAsync(app);
        Assert.Equal("ANN", app.Registry.Connections.Single().UserId);
        Assert.True(await app.Broadcaster.ExtendAuthenticationAsync(app.Registry.Connections.Single().Id, CreateUser("ann"), null, Token));
        _time.Advance(Minute + Beat);
        await client.AssertOpenAsync();
    }

    [Fact]
    public async Task Extend_ClosingConnection_ReturnsFalse()
    {
        await using var app = await StartAsync();
        await using var client = await OpenAsync(app);
        var id = app.Registry.Connections.Single().Id;
        _time.Advance(Minute + Beat);
        Assert.Equal(1008, (await client.ReadCloseAsync()).CloseCode);

        Assert.False(await app.Broadcaster.ExtendAuthenticationAsync(id, CreateUser("ann"), null, Token));
    }

    /// <summary>
    /// An extension must not override the answer of the revalidator. Otherwise, a revoked client could extend its
    /// authentication again and again.
    /// </summary>
    [Fact]
    public async Task Extend_PendingRevalidatorThenReturnsFalse_DoesNotKeepConnectionOpen()
    {
        var answer = new TaskCompletionSource<bool>();
        var revalidator = new Revalidator { Answer = (_, _) => new(answer.Task) };
        await using var app = await StartAsync(configure: services => services.AddSingleton<IConnectionRevalidator>(revalidator));
        await using var client = await OpenAsync(app);
        _time.Advance(Minute + Beat);
        await Eventually.True(() => revalidator.Asked == 1);

        Assert.True(await app.Broadcaster.ExtendAuthenticationAsync(app.Registry.Connections.Single().Id, CreateUser("ann"), null, Token));
        answer.SetResult(false);

        Assert.Equal(1008, await client.ClosedWithAsync());
    }

    [Fact]
    public async Task Extend_WhileAuthenticationExpires_ReturnsTrueOnlyIfConnectionStaysOpen()
    {
        using var node = new TestEngine();
        for (var i = 0; i < 300 * Effort.Factor; i++)
        {
            var request = new FakeRequest { UserId = "ann" };
            var connection = node.Manager.Admit(
                new(request, "/home", "ann", CreateUser("ann"), null, null, node.Time.GetUtcNow(), ProtocolDescriptor.Raw, new EndpointSettings(node.Options)),
                out _, node.Pumps[0].Pump)!;
            using var start = new Barrier(2);
            var beating = Task.Run(
                () =>
                {
                    start.SignalAndWait(Token);
                    connection.OnHeartbeat();
                },
                Token);
            start.SignalAndWait(Token);
            var isExtended = node.Manager.TryExtendAuthentication(connection, new(connection.Id, "ann", null, CreateUser("ann"), null));
            await beating;

            Assert.Equal(isExtended, connection.Writer.ClosingStatus is null);
            node.Remove(connection);
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task EndAuthentication_OnSameOrOtherNode_ClosesConnectionWithCode1008(bool isOnOtherNode)
    {
        await using var app = await StartAsync(isCluster: true);
        await using var other = await StartAsync(isCluster: true);
        await using var client = await OpenAsync(app);
        var id = app.Registry.Connections.Single().Id;
        await Eventually.True(() => other.Services.GetRequiredService<IPresence>().IsUserOnlineAsync("ann", Token).AsTask().GetAwaiter().GetResult());
        var broadcaster = isOnOtherNode ? other.Broadcaster : app.Broadcaster;
        await app.PublishAsync("before");

        Assert.True(await broadcaster.EndAuthenticationAsync(id, Token));
        Assert.False(await broadcaster.EndAuthenticationAsync("unknown", Token));

        Assert.Equal("before", (await client.ReadFrameAsync()).Text);
        var close = await client.ReadFrameAsync();
        Assert.Equal((1008, "The authentication has expired. Connect again."), (close.CloseCode, close.CloseReason));
        Assert.False(await broadcaster.ExtendAuthenticationAsync(id, CreateUser("ann"), null, Token));
    }

    Task<RawClient> OpenAsync(BroadcastApp app) =>
        RawClient.OpenAsync(app, TestUsers.As("ann"), TestUsers.Until(_time.GetUtcNow() + Minute));

    Task<BroadcastApp> StartAsync(Action<IServiceCollection>? configure = null, bool isCluster = false) => BroadcastApp.StartAsync(
        builder =>
        {
            TestUsers.Add(builder);
            builder.Services.AddSingleton<TimeProvider>(_time);
            if (isCluster) builder.Services.AddBroadcast().AddInMemoryCluster(_cluster);
            configure?.Invoke(builder.Services);
        },
        options: static options =>
        {
            options.KeepAliveInterval = options.SendTimeout = options.RevalidationInterval = Timeout.InfiniteTimeSpan;
            options.CloseTimeout = TimeSpan.FromMinutes(30);
        });

    sealed class UpperCaseIds : IUserIdProvider
    {
        public string? GetUserId(HttpContext context) => context.User.FindFirstValue(ClaimTypes.NameIdentifier)?.ToUpperInvariant();
    }
}
