using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware;

/// <summary>Goes on configuring what <c>AddBroadcast</c> has added.</summary>
public interface IBroadcastBuilder
{
    /// <summary>The broadcast's name; empty for the default one.</summary>
    string Name { get; }

    /// <summary>The app's services.</summary>
    IServiceCollection Services { get; }
}

sealed record BroadcastBuilder(string Name, IServiceCollection Services) : IBroadcastBuilder;
