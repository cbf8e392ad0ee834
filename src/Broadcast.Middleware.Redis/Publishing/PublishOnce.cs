namespace Broadcast.Middleware.Redis.Publishing;

/// <summary>
/// The ID of a publish that must take effect only once: see <see cref="IBackplane.PublishOnceAsync"/>.
/// </summary>
/// <param name="id">The ID of the message.</param>
/// <param name="window">How long Redis remembers the ID.</param>
sealed class PublishOnce(string id, TimeSpan window)
{
    public string Id => id;

    public TimeSpan Window => window;

    /// <summary>
    /// True if Redis already knew the ID. The publisher sets this property before the publish completes.
    /// </summary>
    public bool IsDuplicate { get; set; }
}
