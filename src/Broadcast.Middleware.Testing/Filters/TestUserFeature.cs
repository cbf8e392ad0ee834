using System.Security.Claims;
using Microsoft.AspNetCore.Http.Features.Authentication;

namespace Broadcast.Middleware.Testing.Filters;

/// <summary>Gives the request of a unit test the user of its connection, so that TrySetUser changes both.</summary>
/// <param name="connection">The connection of the request.</param>
sealed class TestUserFeature(TestConnection connection) : IHttpAuthenticationFeature
{
    public ClaimsPrincipal? User
    {
        get => connection.User;
        set => connection.User = value ?? new(new ClaimsIdentity());
    }
}
