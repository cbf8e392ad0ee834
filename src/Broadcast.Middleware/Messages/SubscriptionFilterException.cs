namespace Broadcast.Middleware.Messages;

/// <summary>Reports that the delegate of a subscription filter threw an exception.</summary>
/// <param name="cause">The exception of the delegate.</param>
sealed class SubscriptionFilterException(Exception cause)
    : Exception("The delegate of a subscription filter threw an exception.", cause)
{
    public Exception Cause => InnerException!;
}
