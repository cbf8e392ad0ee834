using System.Diagnostics.CodeAnalysis;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Filters;

/// <summary>
/// Runs a filter class that the app has added. Each event (a connect, a message or a disconnect) gets a filter from its
/// own service scope.
/// </summary>
/// <remarks>
/// If the filter class is a registered service, the scope provides the filter. Otherwise this class creates a filter
/// for each event and disposes the filter afterwards.
/// </remarks>
sealed class ScopedFilter<[DynamicallyAccessedMembers(DynamicallyAccessedMemberTypes.PublicConstructors)] TFilter>
    : IBroadcastFilter
    where TFilter : class, IBroadcastFilter
{
    readonly ObjectFactory<TFilter> _create;

    /// <exception cref="InvalidOperationException">The server cannot create the filter.</exception>
    public ScopedFilter(IServiceProvider services)
    {
        // Create one filter when the app starts. A missing service then causes an error at startup, not at the first
        // connection.
        try
        {
            _create = ActivatorUtilities.CreateFactory<TFilter>([]);
            CheckAsync(services).GetAwaiter().GetResult();
        }
        catch (Exception exception)
        {
            throw new InvalidOperationException(
                $"The filter {typeof(TFilter).Name} cannot be created. {exception.Message} " +
                "Register the services that the filter needs, or fix its constructor.",
                exception);
        }
    }

    public Task OnConnectAsync(ConnectContext context, FilterDelegate<ConnectContext> next) =>
        RunAsync(context, next, static (filter, context, next) => filter.OnConnectAsync(context, next));

    public Task OnMessageAsync(MessageContext context, FilterDelegate<MessageContext> next) =>
        RunAsync(context, next, static (filter, context, next) => filter.OnMessageAsync(context, next));

    public Task OnDisconnectAsync(DisconnectContext context, FilterDelegate<DisconnectContext> next) =>
        RunAsync(context, next, static (filter, context, next) => filter.OnDisconnectAsync(context, next));

    async Task RunAsync<TContext>(
        TContext context, FilterDelegate<TContext> next, Func<TFilter, TContext, FilterDelegate<TContext>, Task> run)
        where TContext : FilterContext
    {
        var filter = GetOrCreate(context.Services, out var isCreated);
        try
        {
            await run(filter, context, next).ConfigureAwait(false);
        }
        finally
        {
            if (isCreated) await DisposeAsync(filter).ConfigureAwait(false);
        }
    }

    async Task CheckAsync(IServiceProvider services)
    {
        await using var scope = services.CreateAsyncScope();
        var filter = GetOrCreate(scope.ServiceProvider, out var isCreated);
        if (isCreated) await DisposeAsync(filter).ConfigureAwait(false);
    }

    TFilter GetOrCreate(IServiceProvider services, out bool isCreated)
    {
        var filter = services.GetService<TFilter>();
        isCreated = filter is null;
        return filter ?? _create(services, null);
    }

    static ValueTask DisposeAsync(TFilter filter)
    {
        if (filter is IAsyncDisposable asyncDisposable) return asyncDisposable.DisposeAsync();
        (filter as IDisposable)?.Dispose();
        return default;
    }
}
