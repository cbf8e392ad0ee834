using System.Collections.Concurrent;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using NSubstitute;

namespace Broadcast.Middleware.Tests.Filters;

/// <summary>Tests the service scope that the library creates for each event.</summary>
public sealed class FilterScopeTests
{
    readonly History _history = new();

    /// <summary>The app validates scopes, so it would reject a scoped service from the root provider.</summary>
    [Fact]
    public async Task ScopedService_SeveralEvents_IsOnePerEventAndDisposedAfterwards()
    {
        await using var app = await StartAsync(broadcast => broadcast.Use<FirstFilter>().Use<SecondFilter>());
        _history.Clear();
        await using (var device = await app.ConnectAsync())
        {
            foreach (var text in new[] { "1", "2" })
            {
                await device.SendAsync(text);
                Assert.Equal(text, await device.ReceiveTextAsync());
            }

            await device.CloseAsync();
            await Eventually.True(() => app.Registry.Count == 0);
        }

        string[] events = ["connect", "1", "2", "disconnect"];
        await Eventually.True(() => _history.Uses.Count == 2 * events.Length && _history.Databases.All(static database => database.IsDisposed));
        Assert.Equal(events.SelectMany(static name => new[] { $"first {name}", $"second {name}" }), _history.Uses.Select(use => use.Name));
        Assert.Equal(events.Length, _history.Databases.Count);
        for (var i = 0; i < events.Length; i++)
        {
            var (first, second) = (_history.Uses[2 * i], _history.Uses[(2 * i) + 1]);
            Assert.Same(first.Database, second.Database);
            Assert.Same(_history.Databases[i], first.Database);
            // When an event starts, the databases of all earlier events are disposed, but the database of this event is not.
            Assert.Equal(i, first.DisposedDatabases);
        }

        Assert.Empty(app.Errors);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task ScopedService_FilterThrows_IsDisposed(bool atOnce)
    {
        _history.ThrowsAtOnce = atOnce;
        await using var app = await StartAsync(broadcast => broadcast.Use<ThrowingFilter>());
        await using var device = await app.ConnectAsync();
        await device.SendAsync("x");
        Assert.Equal(1011, (await device.ReceiveCloseAsync()).Code);
        await Eventually.True(() => app.Registry.Count == 0);
        Assert.True(Assert.Single(_history.Uses).Database.IsDisposed);
        await Eventually.True(() => _history.Databases.All(static database => database.IsDisposed));
    }

    [Fact]
    public async Task Filter_RegisteredAsScopedService_IsSharedWithinOneEvent()
    {
        await using var app = await StartAsync(
            broadcast => broadcast.Use<FirstFilter>().Use<FirstFilter>(), services => services.AddScoped<FirstFilter>());
        await using var device = await app.ConnectAsync();
        await device.SendAsync("1");
        Assert.Equal("1", await device.ReceiveTextAsync());
        var uses = _history.Uses.Where(static use => use.Name == "first 1").ToList();
        Assert.Equal(2, uses.Count);
        Assert.Same(uses[0].Filter, uses[1].Filter);
        Assert.NotSame(uses[0].Filter, _history.Uses[0].Filter);
    }

    [Fact]
    public async Task Filter_NotRegistered_IsDisposedAfterEachEvent()
    {
        await using var app = await StartAsync(broadcast => broadcast.Use<DisposableFilter>().Use<AsyncDisposableFilter>());
        await using var device = await app.ConnectAsync();
        await device.SendAsync("1");
        Assert.Equal("1", await device.ReceiveTextAsync());
        // The start of the app, the connect event and the message event each create one filter of each type.
        await Eventually.True(() => _history.DisposedFilters == 6);
    }

    [Fact]
    public async Task Scope_ServicesUnused_IsNotCreated()
    {
        var scopes = Substitute.For<IServiceScopeFactory>();
        await RunAsync(scopes, static (context, next) => next(context));
        scopes.DidNotReceive().CreateScope();
    }

    [Fact]
    public async Task Scope_ServicesUsedTwice_IsCreatedAndDisposedOncePerMessage()
    {
        var (scopes, scope) = (Substitute.For<IServiceScopeFactory>(), Substitute.For<IServiceScope>());
        scopes.CreateScope().Returns(scope);
        var services = new List<IServiceProvider>();
        var disposals = 0;
        scope.When(scope => scope.Dispose()).Do(_ => disposals++);
        await RunAsync(scopes, (context, next) =>
        {
            // The scopes of all previous messages are disposed.
            Assert.Equal(services.Count / 2, disposals);
            services.AddRange([context.Services, context.Services]);
            return next(context);
        });
        Assert.All(services, used => Assert.Same(scope.ServiceProvider, used));
        Assert.Equal((4, 2), (services.Count, disposals));
        scopes.Received(2).CreateScope();
    }

    /// <summary>Runs the filter for two messages of one connection.</summary>
    static async Task RunAsync(IServiceScopeFactory scopes, Func<MessageContext, FilterDelegate<MessageContext>, Task> filter)
    {
        using var broadcast = new TestEngine();
        var connection = broadcast.Connect(broadcast.Pumps[0], "/g", new ManualSink());
        var broadcaster = broadcast;
        var validator = new MessageValidator(broadcaster.Options.MaxBacklogBytes);
        var pipeline = new FilterPipeline(
            [new DelegateFilter { Message = filter }], broadcaster.Manager, broadcaster.Instance.Router, validator,
            new BroadcastTracing(""), "/test");
        var context = new MessageContext(connection, new FilterActions(broadcaster.Public, validator, scopes));
        for (var i = 1; i <= 2; i++)
        {
            context.Reset(Message.FromText("x"));
            await pipeline.OnMessageAsync(context);
            Assert.Equal(1, context.Result.LocalRecipients);
        }
    }

    Task<BroadcastTestHost> StartAsync(Action<IBroadcastBuilder> broadcast, Action<IServiceCollection>? services = null) => TestHosts.StartAsync(
        builder =>
        {
            builder.Host.UseDefaultServiceProvider(static options => (options.ValidateScopes, options.ValidateOnBuild) = (true, true));
            builder.Services.AddSingleton(_history).AddScoped<Database>();
            services?.Invoke(builder.Services);
        },
        broadcast: broadcast);

    sealed record Use(string Name, IBroadcastFilter Filter, Database Database, int DisposedDatabases);

    sealed class History
    {
        readonly ConcurrentQueue<Database> _databases = new();
        readonly ConcurrentQueue<Use> _uses = new();
        int _disposedFilters;

        public IReadOnlyList<Database> Databases => [.. _databases];

        public IReadOnlyList<Use> Uses => [.. _uses];

        public int DisposedFilters => Volatile.Read(ref _disposedFilters);

        public bool ThrowsAtOnce { get; set; }

        public void Add(Database database) => _databases.Enqueue(database);

        public void Add(string name, IBroadcastFilter filter, Database database) =>
            _uses.Enqueue(new(name, filter, database, Databases.Count(static other => other.IsDisposed)));

        public void OnFilterDisposed() => Interlocked.Increment(ref _disposedFilters);

        /// <summary>Removes the databases that the app created at startup. All these databases must be disposed.</summary>
        public void Clear()
        {
            Assert.All(Databases, static database => Assert.True(database.IsDisposed));
            _databases.Clear();
        }
    }

    /// <summary>A scoped service that can only be disposed asynchronously.</summary>
    sealed class Database : IAsyncDisposable
    {
        public Database(History history) => history.Add(this);

        public bool IsDisposed { get; private set; }

        public async ValueTask DisposeAsync()
        {
            await Task.Yield();
            IsDisposed = true;
        }
    }

    abstract class RecordingFilter(string name, History history, Database database) : IBroadcastFilter
    {
        public Task OnConnectAsync(ConnectContext context, FilterDelegate<ConnectContext> next) => RunAsync("connect", context, next);

        public Task OnMessageAsync(MessageContext context, FilterDelegate<MessageContext> next) => RunAsync(context.Text, context, next);

        public Task OnDisconnectAsync(DisconnectContext context, FilterDelegate<DisconnectContext> next) => RunAsync("disconnect", context, next);

        async Task RunAsync<TContext>(string stage, TContext context, FilterDelegate<TContext> next) where TContext : FilterContext
        {
            history.Add($"{name} {stage}", this, database);
            await Task.Yield();
            await next(context);
            Assert.Same(database, context.Services.GetRequiredService<Database>());
            Assert.False(database.IsDisposed);
        }
    }

    sealed class FirstFilter(History history, Database database) : RecordingFilter("first", history, database);

    sealed class SecondFilter(History history, Database database) : RecordingFilter("second", history, database);

    sealed class ThrowingFilter(History history, Database database) : IBroadcastFilter
    {
        public Task OnMessageAsync(MessageContext context, FilterDelegate<MessageContext> next)
        {
            history.Add("throw", this, database);
            return history.ThrowsAtOnce ? throw new InvalidOperationException("boom") : ThrowLaterAsync();
        }

        static async Task ThrowLaterAsync()
        {
            await Task.Yield();
            throw new InvalidOperationException("boom");
        }
    }

    sealed class DisposableFilter(History history) : IBroadcastFilter, IDisposable
    {
        public void Dispose() => history.OnFilterDisposed();
    }

    sealed class AsyncDisposableFilter(History history) : IBroadcastFilter, IAsyncDisposable
    {
        public async ValueTask DisposeAsync()
        {
            await Task.Yield();
            history.OnFilterDisposed();
        }
    }
}
