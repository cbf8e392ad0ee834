namespace Broadcast.Middleware.Dashboard.Requests;

/// <summary>A request of the page. Each type of request uses some of the properties.</summary>
sealed class DashboardRequest
{
    /// <summary>A number that the answer repeats.</summary>
    public long Id { get; init; }

    /// <summary>
    /// The type of the request: <c>groups</c>, <c>group</c>, <c>nodes</c>, <c>publish</c> or <c>close</c>.
    /// </summary>
    public string? Type { get; init; }

    /// <summary>The part of a group name to search for.</summary>
    public string? Search { get; init; }

    /// <summary>The name of a group, the ID of a user or the ID of a connection.</summary>
    public string? Name { get; init; }

    /// <summary>The recipients of a publish: <c>everyone</c>, <c>group</c>, <c>user</c> or <c>connection</c>.</summary>
    public string? To { get; init; }

    /// <summary>The text to publish.</summary>
    public string? Text { get; init; }

    /// <summary>The close code (RFC 6455, section 7.4). Null means 1000.</summary>
    public int? Code { get; init; }

    /// <summary>The reason in the close frame.</summary>
    public string? Reason { get; init; }
}
