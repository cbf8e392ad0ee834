namespace Broadcast.Middleware.Presence;

/// <summary>Limits the size of presence states.</summary>
/// <param name="maxBytes">See <see cref="BroadcastOptions.MaxPresenceStateBytes"/>.</param>
sealed class StateLimit(int maxBytes)
{
    /// <summary>Returns an error message for an invalid state. Returns null for a valid state.</summary>
    public string? Problem(ReadOnlyMemory<byte> state) => state.Length <= maxBytes
        ? null
        : $"The state has {state.Length} bytes, but {nameof(BroadcastOptions.MaxPresenceStateBytes)} is {maxBytes}. " +
          "Shorten the state, or raise the option.";
}
