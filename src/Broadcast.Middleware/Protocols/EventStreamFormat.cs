using Broadcast.Middleware.Connections;
using Broadcast.Middleware.Delivery;
using Broadcast.Middleware.Logs;

namespace Broadcast.Middleware.Protocols;

/// <summary>The format of a connection that uses server-sent events instead of a WebSocket.</summary>
sealed class EventStreamFormat : ConnectionFormat
{
    public static EventStreamFormat Instance { get; } = new();

    public override bool SendsMessages => false;

    public override EntryEncoder GetEncoder(bool isHomeGroup) =>
        isHomeGroup ? EventStreamEncoder.ForHomeGroup : EventStreamEncoder.ForOtherLogs;

    public override ReadOnlyMemory<byte> GetHeartbeat(EndpointSettings settings) => settings.HeartbeatEvent;
}
