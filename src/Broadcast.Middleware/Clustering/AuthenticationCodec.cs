using System.Security.Claims;
using Broadcast.Middleware.Connections;

namespace Broadcast.Middleware.Clustering;

/// <summary>
/// Encodes and decodes an <see cref="AuthenticationExtension"/>, which one node sends to another node.
/// </summary>
/// <remarks>
/// The other node receives a plain <see cref="ClaimsPrincipal"/> with the same claims. The bytes contain no token,
/// because the backplane could store the token.
/// </remarks>
static class AuthenticationCodec
{
    const long Never = -1;

    public static byte[] Encode(AuthenticationExtension extension)
    {
        using var output = new MemoryStream();
        using var writer = new BinaryWriter(output);
        writer.Write(extension.UserId);
        writer.Write(extension.Expires?.UtcTicks ?? Never);
        // The loop below removes the token from each identity, so clone the identities first. ClaimsPrincipal.Clone
        // would not clone the identities.
        ClaimsIdentity[] identities = [.. extension.User.Identities.Select(static identity => identity.Clone())];
        foreach (var identity in identities)
        {
            for (var current = identity; current is not null; current = current.Actor) current.BootstrapContext = null;
        }

        new ClaimsPrincipal(identities).WriteTo(writer);
        writer.Flush();
        return output.ToArray();
    }

    /// <exception cref="InvalidDataException">The bytes are invalid.</exception>
    public static AuthenticationExtension Decode(string connectionId, string? homeGroup, ReadOnlyMemory<byte> bytes)
    {
        using var input = new MemoryStream(bytes.ToArray());
        using var reader = new BinaryReader(input);
        try
        {
            var (userId, ticks) = (reader.ReadString(), reader.ReadInt64());
            DateTimeOffset? expires = ticks == Never ? null : new(ticks, TimeSpan.Zero);
            return new(connectionId, userId, homeGroup, new ClaimsPrincipal(reader), expires);
        }
        catch (Exception exception) when (exception is not OutOfMemoryException)
        {
            throw new InvalidDataException(
                "Another node sent an invalid user. Run the same package version on all nodes.", exception);
        }
    }
}
