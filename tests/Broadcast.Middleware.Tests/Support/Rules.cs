namespace Broadcast.Middleware.Tests.Support;

/// <summary>An authorizer with a rule from the test.</summary>
sealed class Rules(Func<string, GroupOperation, bool> allows) : IGroupAuthorizer
{
    public static Rules AllowAll { get; } = new((_, _) => true);

    public async ValueTask<bool> AuthorizeAsync(IBroadcastConnection connection, string group, GroupOperation operation)
    {
        await Task.Yield();
        return allows(group, operation);
    }
}
