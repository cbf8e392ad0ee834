using System.Diagnostics.CodeAnalysis;

namespace Broadcast.Middleware.Filters;

/// <summary>The registered filters of a broadcast or an endpoint, in the order in which they run.</summary>
sealed class FilterRegistrations
{
    readonly List<Func<IServiceProvider, IBroadcastFilter>> _factories = [];

    public void Add(IBroadcastFilter filter) => _factories.Add(_ => filter);

    public void Add<[DynamicallyAccessedMembers(DynamicallyAccessedMemberTypes.PublicConstructors)] TFilter>()
        where TFilter : class, IBroadcastFilter =>
        _factories.Add(static services => new ScopedFilter<TFilter>(services));

    /// <exception cref="InvalidOperationException">The server cannot create a filter.</exception>
    public IEnumerable<IBroadcastFilter> Create(IServiceProvider services) =>
        _factories.Select(create => create(services));
}
