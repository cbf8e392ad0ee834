namespace Broadcast.Middleware.Protocols;

/// <summary>The kinds of requests that a client of <see cref="JsonProtocol"/> can send.</summary>
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
