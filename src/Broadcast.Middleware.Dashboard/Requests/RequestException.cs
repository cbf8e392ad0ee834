namespace Broadcast.Middleware.Dashboard.Requests;

/// <summary>
/// The exception that is thrown when a request is invalid. The message describes the problem and the fix for the user
/// of the page.
/// </summary>
sealed class RequestException(string message) : Exception(message);
