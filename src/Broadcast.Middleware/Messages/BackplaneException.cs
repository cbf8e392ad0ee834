namespace Broadcast.Middleware;

/// <summary>
/// The exception that is thrown when the other nodes are unreachable or do not answer, or when too many requests
/// already wait for an answer.
/// </summary>
public sealed class BackplaneException : Exception
{
    /// <summary>Creates an exception without a message.</summary>
    public BackplaneException() { }

    /// <summary>Creates an exception with a message.</summary>
    /// <param name="message">The problem and the fix.</param>
    public BackplaneException(string message) : base(message) { }

    /// <summary>Creates an exception with a message and a cause.</summary>
    /// <param name="message">The problem and the fix.</param>
    /// <param name="innerException">The cause.</param>
    public BackplaneException(string message, Exception? innerException) : base(message, innerException) { }

    /// <summary>
    /// True if the backplane did not publish the message, and the broadcast must deliver the message to the connections
    /// of this node only. Only an <see cref="IBackplane"/> sets this property. Default: false.
    /// </summary>
    public bool DeliverLocally { get; init; }
}
