namespace Broadcast.Middleware.Protocols;

/// <summary>The requests of a client of <see cref="JsonProtocol"/>.</summary>
enum JsonRequestKind
{
    Unknown,
    Join,
    Leave,
    Send,
    Event,
    Ping,
    SequenceAck,
    SetState,
    SubscribeStates,
    UnsubscribeStates,
}
