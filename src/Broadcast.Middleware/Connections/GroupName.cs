using System.Runtime.CompilerServices;

namespace Broadcast.Middleware;

/// <summary>What may name a group: text that fits a log line.</summary>
static class GroupName
{
    public const int MaxLength = 255;

    /// <summary>Null, or what is wrong with the name and how to mend it.</summary>
    public static string? Problem(string? name)
    {
        if (string.IsNullOrEmpty(name)) return "A group's name must not be empty.";
        if (name.Length > MaxLength) return $"A group's name has {MaxLength} characters at most; this one has {name.Length}.";
        foreach (var character in name)
        {
            // The line and paragraph separators break lines too, though Unicode does not count them as control characters.
            if (char.IsControl(character) || character is '\u2028' or '\u2029')
                return $"A group's name must not hold control characters; this one holds U+{(int)character:X4}.";
        }

        return null;
    }

    public static void ThrowIfInvalid(string? name, [CallerArgumentExpression(nameof(name))] string? parameter = null)
    {
        if (Problem(name) is { } problem) throw new ArgumentException(problem, parameter);
    }
}
