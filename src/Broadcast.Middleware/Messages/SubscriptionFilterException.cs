namespace Broadcast.Middleware.Messages;

/// <summary>The exception that is thrown when the delegate of a subscription filter has thrown an exception.</summary>
/// <param name="cause">The exception of the delegate.</param>
sealed class SubscriptionFilterException(Exception cause)
    : Exception("The delegate of a subscription filter threw an exception.", cause)
{
    public Exception Cause => InnerException!;
}
