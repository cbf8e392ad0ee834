using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Hosting;

/// <summary>The result of <c>AddBroadcast</c>.</summary>
sealed record BroadcastBuilder(string Name, IServiceCollection Services) : IBroadcastBuilder;
