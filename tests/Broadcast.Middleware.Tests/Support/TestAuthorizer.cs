namespace Broadcast.Middleware.Tests.Support;

/// <summary>An authorizer whose rule the test supplies.</summary>
sealed class TestAuthorizer(Func<string, GroupOperation, bool> allows) : IGroupAuthorizer
{
    public static TestAuthorizer AllowAll { get; } = new((_, _) => true);

    public async ValueTask<bool> AuthorizeAsync(IBroadcastConnection connection, string group, GroupOperation operation)
    {
        await Task.Yield();
        return allows(group, operation);
    }
}
