using System.Runtime.CompilerServices;

namespace Broadcast.Middleware.Messages;

/// <summary>
/// Validates group names. A name has 1 to 255 characters, and no control characters or Unicode line breaks. So a name
/// fits into one log line.
/// </summary>
static class GroupName
{
    public const int MaxLength = 255;

    /// <summary>
    /// The name of the internal group of all connections. An app cannot use this name, because a valid name is not
    /// empty.
    /// </summary>
    public const string Everyone = "";

    /// <summary>Returns an error message for an invalid name. Returns null for a valid name.</summary>
    public static string? Problem(string? name)
    {
        if (string.IsNullOrEmpty(name)) return "The group name is empty. Use 1 to 255 characters.";
        if (name.Length > MaxLength)
            return $"The group name has {name.Length} characters. Use at most {MaxLength} characters.";
        foreach (var character in name)
        {
            // The characters U+2028 and U+2029 break lines, but are not control characters in Unicode.
            if (char.IsControl(character) || character is '\u2028' or '\u2029')
                return $"The group name contains the invalid character U+{(int)character:X4}. Remove this character.";
        }

        return null;
    }

    public static void ThrowIfInvalid(string? name, [CallerArgumentExpression(nameof(name))] string? parameter = null)
    {
        if (Problem(name) is { } problem) throw new ArgumentException(problem, parameter);
    }
}
