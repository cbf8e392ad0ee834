namespace Broadcast.Middleware;

/// <summary>The rest of a pipeline: what a filter calls to let something happen.</summary>
public delegate Task FilterDelegate<in TContext>(TContext context) where TContext : FilterContext;
