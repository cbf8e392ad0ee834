namespace Broadcast.Middleware;

/// <summary>The operations that an <see cref="IGroupAuthorizer"/> allows or denies.</summary>
public enum GroupOperation
{
    /// <summary>The client joins the group and receives its messages.</summary>
    Join,

    /// <summary>The client publishes to the group.</summary>
    Publish,
}
