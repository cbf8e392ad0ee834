namespace Broadcast.Middleware.Delivery;

/// <summary>
/// The subscription filters of a membership. The member receives the messages that both filters accept.
/// </summary>
/// <param name="FromServer">
/// The filter of the app. The filter stays in effect if the client leaves the group and joins the group again. Null
/// accepts every message.
/// </param>
/// <param name="FromClient">The filter that the client has chosen. Null accepts every message.</param>
/// <param name="IsByClient">True if the client joins. An existing membership then keeps its filters.</param>
readonly record struct MembershipFilters(
    SubscriptionFilter? FromServer, SubscriptionFilter? FromClient, bool IsByClient = false)
{
    /// <summary>Accepts the messages that both filters accept. Null accepts every message.</summary>
    public SubscriptionFilter? Both => SubscriptionFilter.Both(FromServer, FromClient);
}
