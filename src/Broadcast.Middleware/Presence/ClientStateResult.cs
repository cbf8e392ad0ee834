namespace Broadcast.Middleware.Presence;

/// <summary>The result of a client's request to set its own presence state.</summary>
enum ClientStateResult
{
    Success,
    NotAMember,

    /// <summary>The app has set the state. A client cannot replace or remove such a state.</summary>
    SetByApp,
}
