namespace Broadcast.Middleware.Presence;

/// <summary>Limits the size of presence states.</summary>
/// <param name="maxBytes">See <see cref="BroadcastOptions.MaxPresenceStateBytes"/>.</param>
sealed class StateLimit(int maxBytes)
{
    /// <summary>Returns null for a valid state, or a message with the problem and the fix.</summary>
    public string? Problem(ReadOnlyMemory<byte> state) => state.Length <= maxBytes
        ? null
        : $"The state has {state.Length} bytes, but {nameof(BroadcastOptions.MaxPresenceStateBytes)} is {maxBytes}. " +
          "Shorten the state, or raise the option.";
}
