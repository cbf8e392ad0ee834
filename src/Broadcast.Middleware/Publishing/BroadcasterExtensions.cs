using System.Text.Json.Serialization.Metadata;

namespace Broadcast.Middleware;

/// <summary>Shorter ways to publish.</summary>
public static class BroadcasterExtensions
{
    /// <summary>Publishes text.</summary>
    /// <inheritdoc cref="IBroadcaster.PublishAsync"/>
    /// <param name="broadcaster">The broadcaster.</param>
    /// <param name="text">The text; lone surrogates, which have no encoding, become U+FFFD.</param>
    /// <param name="recipients">Whom it is for; everyone by default.</param>
    /// <param name="cancellationToken">Gives up before the message is published; never afterwards.</param>
    public static ValueTask<PublishResult> PublishAsync(
        this IBroadcaster broadcaster, string text, Recipients recipients = default, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(broadcaster);
        return broadcaster.PublishAsync(Message.FromText(text), recipients, cancellationToken);
    }

    /// <summary>Publishes bytes, as a binary message.</summary>
    /// <inheritdoc cref="IBroadcaster.PublishAsync"/>
    /// <param name="broadcaster">The broadcaster.</param>
    /// <param name="bytes">The bytes; copied before the call returns.</param>
    /// <param name="recipients">Whom it is for; everyone by default.</param>
    /// <param name="cancellationToken">Gives up before the message is published; never afterwards.</param>
    public static ValueTask<PublishResult> PublishAsync(
        this IBroadcaster broadcaster, ReadOnlyMemory<byte> bytes, Recipients recipients = default, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(broadcaster);
        return broadcaster.PublishAsync(new Message(bytes, MessageType.Binary), recipients, cancellationToken);
    }

    /// <summary>Publishes a value as JSON text, without reflection.</summary>
    /// <inheritdoc cref="IBroadcaster.PublishAsync"/>
    /// <param name="broadcaster">The broadcaster.</param>
    /// <param name="value">The value.</param>
    /// <param name="typeInfo">From a <c>JsonSerializerContext</c>.</param>
    /// <param name="recipients">Whom it is for; everyone by default.</param>
    /// <param name="cancellationToken">Gives up before the message is published; never afterwards.</param>
    public static ValueTask<PublishResult> PublishAsync<T>(
        this IBroadcaster broadcaster,
        T value,
        JsonTypeInfo<T> typeInfo,
        Recipients recipients = default,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(broadcaster);
        return broadcaster.PublishAsync(Message.FromJson(value, typeInfo), recipients, cancellationToken);
    }
}
