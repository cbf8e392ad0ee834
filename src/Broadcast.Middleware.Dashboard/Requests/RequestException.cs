namespace Broadcast.Middleware.Dashboard.Requests;

/// <summary>
/// Thrown for an invalid request. The message tells the user of the page what is wrong and how to fix it.
/// </summary>
sealed class RequestException(string message) : Exception(message);
