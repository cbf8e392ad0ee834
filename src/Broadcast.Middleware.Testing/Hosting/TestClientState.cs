using System.Security.Claims;

namespace Broadcast.Middleware.Testing.Hosting;

/// <summary>
/// The data that a test client and its server share. The server finds this object in the features of each request.
/// </summary>
/// <param name="options">The options of the client.</param>
/// <param name="user">The authenticated user. Null for an anonymous client.</param>
sealed class TestClientState(TestClientOptions options, ClaimsPrincipal? user)
{
    readonly TaskCompletionSource _connected = new(TaskCreationOptions.RunContinuationsAsynchronously);
    volatile ConnectContext? _context;

    public TestClientOptions Options => options;

    public ClaimsPrincipal? User => user;

    /// <summary>The context of the connect filters. Null until the connect filters start.</summary>
    public ConnectContext? Context
    {
        get => _context;
        set => _context = value;
    }

    /// <summary>Completes when the connect filters have run or the request has ended.</summary>
    public Task Connected => _connected.Task;

    public void OnConnected() => _connected.TrySetResult();
}
