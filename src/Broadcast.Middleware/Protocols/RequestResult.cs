namespace Broadcast.Middleware.Protocols;

/// <summary>The result of a client request: success, or an error that the acknowledgement reports.</summary>
/// <param name="Error">The name of the error. Null for success.</param>
/// <param name="Message">The problem and the fix.</param>
readonly record struct RequestResult(string? Error, string Message)
{
    public static RequestResult Success => new(null, "");

    public static RequestResult JoinForbidden => Forbidden("This client is not allowed to join the group.");

    public static RequestResult FilterForbidden =>
        Forbidden("This URL allows no filters of clients. Set the option AllowClientFilters, or omit the filter.");

    public static RequestResult FilterUnchangeable => BadRequest(
        "The client is already a member of the group. To change the filter, leave the group and join it again.");

    public static RequestResult PublishForbidden => Forbidden("This client is not allowed to publish to the group.");

    public static RequestResult SubscribeForbidden =>
        Forbidden("This client is not allowed to subscribe to the states of the group.");

    public static RequestResult SetStateForbidden =>
        Forbidden("This client is not allowed to set a state in the group.");

    public static RequestResult StateSetByApp =>
        Forbidden("The app has set the state of this client in the group. Only the app can change this state.");

    public static RequestResult NotAMember =>
        Forbidden("This client is not a member of the group. Join the group first.");

    public static RequestResult BadRequest(string message) => new("BadRequest", message);

    static RequestResult Forbidden(string message) => new("Forbidden", message);
}
