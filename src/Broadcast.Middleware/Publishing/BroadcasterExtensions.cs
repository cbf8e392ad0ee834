using System.Runtime.CompilerServices;
using System.Text.Json.Serialization.Metadata;

namespace Broadcast.Middleware;

/// <summary>Publishes text, bytes and JSON values.</summary>
public static class BroadcasterExtensions
{
    /// <summary>Publishes a text message.</summary>
    /// <inheritdoc cref="IBroadcaster.PublishAsync"/>
    /// <param name="broadcaster">The broadcaster.</param>
    /// <param name="text">
    /// The text. UTF-8 cannot encode an unpaired surrogate, so the call replaces each unpaired surrogate with U+FFFD.
    /// </param>
    /// <param name="recipients">
    /// The recipients. Default: <see cref="Recipients.Everyone"/>. A message then reaches the connections of every URL.
    /// </param>
    /// <param name="key">See <see cref="Message.Key"/>. Default: no key.</param>
    /// <param name="cancellationToken">
    /// Cancels the publish before it starts. In a cluster, the token also ends the wait for the backplane. The
    /// recipients may then still receive the message.
    /// </param>
    [OverloadResolutionPriority(1)]
    public static ValueTask<PublishResult> PublishAsync(
        this IBroadcaster broadcaster,
        string text,
        Recipients recipients = default,
        string? key = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(broadcaster);
        return broadcaster.PublishAsync(Message.FromText(text) with { Key = key }, recipients, cancellationToken);
    }

    /// <summary>Publishes a binary message.</summary>
    /// <inheritdoc cref="IBroadcaster.PublishAsync"/>
    /// <param name="broadcaster">The broadcaster.</param>
    /// <param name="bytes">The bytes. The call copies the bytes before it returns.</param>
    /// <param name="recipients">
    /// The recipients. Default: <see cref="Recipients.Everyone"/>. A message then reaches the connections of every URL.
    /// </param>
    /// <param name="key">See <see cref="Message.Key"/>. Default: no key.</param>
    /// <param name="cancellationToken">
    /// Cancels the publish before it starts. In a cluster, the token also ends the wait for the backplane. The
    /// recipients may then still receive the message.
    /// </param>
    [OverloadResolutionPriority(1)]
    public static ValueTask<PublishResult> PublishAsync(
        this IBroadcaster broadcaster,
        ReadOnlyMemory<byte> bytes,
        Recipients recipients = default,
        string? key = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(broadcaster);
        var message = new Message(bytes, MessageType.Binary) { Key = key };
        return broadcaster.PublishAsync(message, recipients, cancellationToken);
    }

    /// <summary>Publishes a value as JSON text. The call uses the JSON options of the app.</summary>
    /// <inheritdoc cref="IBroadcaster.PublishAsync"/>
    /// <remarks>
    /// The JSON options are <see cref="IBroadcaster.SerializerOptions"/>. For trimming and native AOT, add a
    /// <c>JsonSerializerContext</c> to these options.
    /// </remarks>
    /// <param name="broadcaster">The broadcaster.</param>
    /// <param name="value">The value.</param>
    /// <param name="recipients">
    /// The recipients. Default: <see cref="Recipients.Everyone"/>. A message then reaches the connections of every URL.
    /// </param>
    /// <param name="key">See <see cref="Message.Key"/>. Default: no key.</param>
    /// <param name="cancellationToken">
    /// Cancels the publish before it starts. In a cluster, the token also ends the wait for the backplane. The
    /// recipients may then still receive the message.
    /// </param>
    /// <exception cref="NotSupportedException">
    /// The options contain no metadata for the type, or the serializer does not support the value.
    /// </exception>
    public static ValueTask<PublishResult> PublishAsync<T>(
        this IBroadcaster broadcaster,
        T value,
        Recipients recipients = default,
        string? key = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(broadcaster);
        var typeInfo = (JsonTypeInfo<T>)broadcaster.SerializerOptions.GetTypeInfo(typeof(T));
        return broadcaster.PublishAsync(value, typeInfo, recipients, key, cancellationToken);
    }

    /// <summary>Publishes a value as JSON text, without reflection.</summary>
    /// <inheritdoc cref="IBroadcaster.PublishAsync"/>
    /// <param name="broadcaster">The broadcaster.</param>
    /// <param name="value">The value.</param>
    /// <param name="typeInfo">The type information of a <c>JsonSerializerContext</c>.</param>
    /// <param name="recipients">
    /// The recipients. Default: <see cref="Recipients.Everyone"/>. A message then reaches the connections of every URL.
    /// </param>
    /// <param name="key">See <see cref="Message.Key"/>. Default: no key.</param>
    /// <param name="cancellationToken">
    /// Cancels the publish before it starts. In a cluster, the token also ends the wait for the backplane. The
    /// recipients may then still receive the message.
    /// </param>
    public static ValueTask<PublishResult> PublishAsync<T>(
        this IBroadcaster broadcaster,
        T value,
        JsonTypeInfo<T> typeInfo,
        Recipients recipients = default,
        string? key = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(broadcaster);
        var message = Message.FromJson(value, typeInfo) with { Key = key };
        return broadcaster.PublishAsync(message, recipients, cancellationToken);
    }
}
