using System.Security.Claims;
using Microsoft.AspNetCore.Http.Features.Authentication;

namespace Broadcast.Middleware.Testing.Filters;

/// <summary>
/// Lets the request of a unit test share the user of its connection. So TrySetUser also changes the connection.
/// </summary>
/// <param name="connection">The connection of the request.</param>
sealed class TestUserFeature(TestConnection connection) : IHttpAuthenticationFeature
{
    public ClaimsPrincipal? User
    {
        get => connection.User;
        set => connection.User = value ?? new(new ClaimsIdentity());
    }
}
