namespace Broadcast.Middleware.Tests.Support;

/// <summary>An authorizer that allows each operation synchronously.</summary>
sealed class AllowedGroups : IGroupAuthorizer
{
    public ValueTask<bool> AuthorizeAsync(IBroadcastConnection connection, string group, GroupOperation operation) => new(true);
}
