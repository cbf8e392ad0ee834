namespace Broadcast.Middleware;

/// <summary>Runs the next step of a filter pipeline.</summary>
public delegate Task FilterDelegate<in TContext>(TContext context) where TContext : FilterContext;
