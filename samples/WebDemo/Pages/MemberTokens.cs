using System.Security.Claims;
using System.Security.Cryptography;
using Microsoft.IdentityModel.JsonWebTokens;
using Microsoft.IdentityModel.Tokens;

namespace WebDemo;

/// <summary>Creates the JSON Web Tokens of the members, and describes valid tokens.</summary>
static class MemberTokens
{
    const string Issuer = "webdemo";
    static readonly TimeSpan Lifetime = TimeSpan.FromMinutes(10);

    // After a restart, old tokens are invalid. The nodes of a cluster need a common key in their settings instead.
    static readonly SymmetricSecurityKey Key = new(RandomNumberGenerator.GetBytes(32));

    public static TokenValidationParameters Validation { get; } = new()
    {
        ValidIssuer = Issuer, ValidAudience = Issuer, IssuerSigningKey = Key, ClockSkew = TimeSpan.Zero,
    };

    /// <summary>Returns a new token for a member.</summary>
    public static LoginResponse Create(string name, TimeProvider time)
    {
        var expires = time.GetUtcNow() + Lifetime;
        var token = new JsonWebTokenHandler().CreateToken(new SecurityTokenDescriptor
        {
            Issuer = Issuer, Audience = Issuer, Expires = expires.UtcDateTime, Subject = new([new Claim("sub", name)]),
            SigningCredentials = new(Key, SecurityAlgorithms.HmacSha256),
        });
        return new(name, token, expires.ToUnixTimeMilliseconds());
    }
}
