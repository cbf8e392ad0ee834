using System.Net;
using System.Security.Claims;

namespace Broadcast.Middleware.Testing;

/// <summary>The options of a client of a <see cref="BroadcastTestHost"/>.</summary>
public sealed class TestClientOptions
{
    /// <summary>
    /// The authenticated user. The request has this user before the middleware of the app runs. Null for an anonymous
    /// client. Default: null.
    /// </summary>
    /// <remarks>
    /// An authentication scheme of the app that accepts the request replaces this user. For such an app, set
    /// <see cref="Headers"/> instead.
    /// </remarks>
    public ClaimsPrincipal? User { get; set; }

    /// <summary>Request headers, for example <c>Authorization</c> or <c>Origin</c>. Default: no headers.</summary>
    public IDictionary<string, string> Headers { get; } =
        new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);

    /// <summary>The IP address of the client. Default: 127.0.0.1.</summary>
    public IPAddress RemoteAddress
    {
        get;
        set
        {
            ArgumentNullException.ThrowIfNull(value);
            field = value;
        }
    } = IPAddress.Loopback;

    /// <summary>
    /// The size of the receive buffer in bytes: 1 or more. A client reads only while the test waits for the client, so
    /// a client with a small buffer is a slow client. Default: 1 MB (1,048,576 bytes).
    /// </summary>
    /// <exception cref="ArgumentOutOfRangeException">The value is smaller than 1.</exception>
    public int ReceiveBufferBytes
    {
        get;
        set
        {
            ArgumentOutOfRangeException.ThrowIfLessThan(value, 1);
            field = value;
        }
    } = 1024 * 1024;

    /// <summary>
    /// Creates a user with an ID: the claim <see cref="ClaimTypes.NameIdentifier"/>. Add other claims as needed.
    /// </summary>
    /// <param name="userId">The user ID, for example <c>ann</c>.</param>
    /// <param name="claims">More claims of the user.</param>
    /// <exception cref="ArgumentException">The ID is null or empty.</exception>
    public static ClaimsPrincipal CreateUser(string userId, params IEnumerable<Claim> claims)
    {
        ArgumentException.ThrowIfNullOrEmpty(userId);
        ArgumentNullException.ThrowIfNull(claims);
        var identity = new ClaimsIdentity([new Claim(ClaimTypes.NameIdentifier, userId), .. claims], "Test");
        return new ClaimsPrincipal(identity);
    }
}
