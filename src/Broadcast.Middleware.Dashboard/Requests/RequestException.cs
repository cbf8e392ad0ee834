namespace Broadcast.Middleware.Dashboard.Requests;

/// <summary>
/// A request is invalid. The exception message describes the problem and the fix for the user of the page.
/// </summary>
sealed class RequestException(string message) : Exception(message);
