using System.Diagnostics.CodeAnalysis;
using Broadcast.Middleware.Diagnostics;

namespace Broadcast.Middleware.Connections;

/// <summary>The source of <see cref="IBroadcastConnection.ConnectionAborted"/>.</summary>
/// <param name="connectionId">The ID of the connection, for the logger.</param>
/// <param name="logger">Logs the exceptions of callbacks.</param>
[SuppressMessage("Design", "CA1001", Justification = "A source without a timer needs no disposal.")]
sealed class DisconnectSource(string connectionId, BroadcastLogger logger)
{
    readonly CancellationTokenSource _source = new();

    public CancellationToken Token => _source.Token;

    /// <summary>
    /// Runs the callbacks of the app and logs their exceptions. On a thread of the thread pool, an unhandled exception
    /// would end the process.
    /// </summary>
    public void Cancel()
    {
        try
        {
            _source.Cancel();
        }
        catch (Exception exception)
        {
            logger.CallbackFailed(connectionId, exception);
        }
    }
}
