using System.Text.Json;

namespace WebDemo.Tests;

/// <summary>Reports an error that a method of the npm client has thrown.</summary>
sealed class NpmClientException(JsonElement error) : Exception(error.ToString())
{
    /// <summary>The error name of the server's acknowledgement, for example Forbidden or BadRequest.</summary>
    public string? Name => error.TryGetProperty("detail", out var detail) ? detail.GetProperty("name").GetString() : null;
}
