namespace Broadcast.Middleware;

/// <summary>The next step of a filter pipeline.</summary>
public delegate Task FilterDelegate<in TContext>(TContext context) where TContext : FilterContext;
