namespace Broadcast.Middleware.Testing;

/// <summary>
/// The exception that is thrown when an expectation of a test is not met. For example, the server closed a connection
/// while the test waited for a message. Every test framework reports this exception as a failure.
/// </summary>
public sealed class BroadcastTestException : Exception
{
    /// <summary>Creates an exception with a general message.</summary>
    public BroadcastTestException() : this("An expectation of the test is not met.")
    {
    }

    /// <summary>Creates an exception.</summary>
    /// <param name="message">The problem and the fix.</param>
    public BroadcastTestException(string message) : base(message)
    {
    }

    /// <summary>Creates an exception with its cause.</summary>
    /// <param name="message">The problem and the fix.</param>
    /// <param name="innerException">The cause. Null without a cause.</param>
    public BroadcastTestException(string message, Exception? innerException) : base(message, innerException)
    {
    }

    /// <summary>
    /// The HTTP status code of a refused connect, for example 401. Null if the server did not refuse a connect.
    /// </summary>
    public int? StatusCode { get; init; }

    /// <summary>
    /// The close code that ended the connection (RFC 6455, section 7.4), for example 1008. Null if no close code ended
    /// the connection.
    /// </summary>
    public int? CloseCode { get; init; }

    /// <summary>
    /// The name of the error that the server returned for a request of a <see cref="StructuredTestClient"/>, for
    /// example <c>Forbidden</c>. Null for other problems.
    /// </summary>
    public string? ErrorName { get; init; }
}
