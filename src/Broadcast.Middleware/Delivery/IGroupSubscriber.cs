using Broadcast.Middleware.Logs;

namespace Broadcast.Middleware.Delivery;

/// <summary>A subscriber that can join a group: the writer of a connection, or a reader inside the app.</summary>
interface IGroupSubscriber : ILogSubscriber
{
    /// <summary>The pump that runs the subscriber.</summary>
    Pump Pump { get; }

    /// <summary>True for a connection. Only connections count as members and recipients.</summary>
    bool IsConnection { get; }

    /// <inheritdoc cref="LogReader.Add"/>
    /// <remarks>The caller posts the subscriber afterwards.</remarks>
    void AddCursor(Cursor cursor);

    /// <summary>Asks the pump to give the subscriber a turn. Any thread may call this method.</summary>
    void Post();
}
