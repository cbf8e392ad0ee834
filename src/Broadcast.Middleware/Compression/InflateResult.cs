namespace Broadcast.Middleware.Compression;

/// <summary>The result of one call of <see cref="MessageInflater.Inflate"/>.</summary>
enum InflateResult
{
    /// <summary>The inflater has read the whole input. The message has more compressed bytes.</summary>
    NeedsInput,

    /// <summary>The message needs a larger buffer.</summary>
    NeedsSpace,

    /// <summary>The message is complete.</summary>
    Complete,

    /// <summary>The compressed bytes are corrupt or truncated.</summary>
    Invalid,
}
