namespace Broadcast.Middleware.Messages;

/// <summary>The limits of a filter text.</summary>
/// <param name="Length">The maximum number of characters.</param>
/// <param name="Depth">The maximum number of nested parentheses and <c>not</c> operators.</param>
/// <param name="Values">The maximum number of compared values. A key without a value counts as one value.</param>
readonly record struct FilterLimits(int Length, int Depth, int Values)
{
    /// <summary>The limits of a filter that a client or the app writes as text.</summary>
    public static FilterLimits ForText { get; } =
        new(SubscriptionFilter.MaxTextLength, SubscriptionFilter.MaxTextDepth, SubscriptionFilter.MaxTextValues);

    /// <summary>
    /// The limits of a filter that another node sends. The app can combine filters in code, so such a filter can be
    /// larger than a filter text.
    /// </summary>
    public static FilterLimits ForNodes { get; } =
        new(1 << 24, 4 * SubscriptionFilter.MaxDepth, 1 << 20);
}
