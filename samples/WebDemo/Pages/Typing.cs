using Broadcast.Middleware;

namespace WebDemo;

/// <summary>Tells the people in a chat room who is typing.</summary>
static class Typing
{
    /// <summary>Maps the URL of each room. A message without content means that its sender is typing.</summary>
    public static void Map(IEndpointRouteBuilder app) => app
        .MapBroadcast("/rooms/{room}/typing", static options => options.MaxMessageBytes = 1)
        .UseConnect(static (context, next) =>
        {
            DisplayName.Set(context);
            return next(context);
        })
        .Use(static (context, next) =>
        {
            #region typing
            // The message is transient, because it is outdated after a few seconds.
            context.Message = Message.FromText(DisplayName.Get(context.Connection)) with { IsTransient = true };
            context.ExcludeSender();
            return next(context);
            #endregion
        });
}
