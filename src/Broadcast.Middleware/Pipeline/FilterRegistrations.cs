using System.Diagnostics.CodeAnalysis;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware;

/// <summary>How an endpoint's filters are made, in the order in which they run.</summary>
sealed class FilterRegistrations
{
    readonly List<Func<IServiceProvider, IBroadcastFilter>> _factories = [];

    public void Add(IBroadcastFilter filter) => _factories.Add(_ => filter);

    public void Add<[DynamicallyAccessedMembers(DynamicallyAccessedMemberTypes.PublicConstructors)] TFilter>()
        where TFilter : class, IBroadcastFilter =>
        _factories.Add(static services => ActivatorUtilities.GetServiceOrCreateInstance<TFilter>(services));

    public IEnumerable<IBroadcastFilter> Create(IServiceProvider services) => _factories.Select(create => create(services));
}
