namespace Broadcast.Middleware;

/// <summary>
/// The exception that is thrown when a reader of a group has missed messages and cannot continue: see
/// <see cref="IBroadcaster.ReadAsync"/>. Load the current state of your data, and start a new reader.
/// </summary>
public sealed class MessagesMissedException : Exception
{
    /// <summary>Creates an exception without a message.</summary>
    public MessagesMissedException() { }

    /// <summary>Creates an exception with a message.</summary>
    /// <param name="message">The problem and the fix.</param>
    public MessagesMissedException(string message) : base(message) { }

    /// <summary>Creates an exception with a message and a cause.</summary>
    /// <param name="message">The problem and the fix.</param>
    /// <param name="innerException">The cause.</param>
    public MessagesMissedException(string message, Exception? innerException) : base(message, innerException) { }
}
