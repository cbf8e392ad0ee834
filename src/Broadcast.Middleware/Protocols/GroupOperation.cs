namespace Broadcast.Middleware;

/// <summary>The operations that an <see cref="IGroupAuthorizer"/> allows or denies.</summary>
public enum GroupOperation
{
    /// <summary>The client joins the group and receives its messages.</summary>
    Join,

    /// <summary>The client publishes to the group.</summary>
    Publish,

    /// <summary>
    /// The client sets its own presence state in the group. The client must be a member of the group. A client cannot
    /// change a state that the app has set. Such a state ends when the client leaves the group. So a client that may
    /// also join the group can leave, join again, and set its own state.
    /// </summary>
    SetState,

    /// <summary>
    /// The client receives the presence states of the members of the group, including states that the app has set. The
    /// client need not be a member.
    /// </summary>
    SubscribeToStates,
}
