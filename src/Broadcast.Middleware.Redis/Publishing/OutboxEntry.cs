using System.Diagnostics;

namespace Broadcast.Middleware.Redis.Publishing;

/// <summary>A message that waits for its position.</summary>
/// <remarks>
/// Invariant: the budget counts the message exactly as long as this object references the message. The invariant also
/// holds after the caller has stopped waiting.
/// </remarks>
sealed class OutboxEntry(
    byte[] message, bool isTransient, PublishOnce? once, GroupOptions? history, RetainedKey? key, long timestamp,
    OutboxBudget budget, int reservedBytes)
    : TaskCompletionSource<Position>(TaskCreationOptions.RunContinuationsAsynchronously)
{
    byte[]? _message = message;

    /// <summary>The encoded message. Do not use this property if <see cref="IsDropped"/> is true.</summary>
    public byte[] Message => _message!;

    /// <summary>
    /// True for a transient message. Redis does not store the message, and the message has no position.
    /// </summary>
    public bool IsTransient => isTransient;

    /// <summary>
    /// The ID of the message. Null for a message without an ID. A batch with an ID has only one message, because the
    /// script accepts or rejects the whole batch.
    /// </summary>
    public PublishOnce? Once => once;

    public GroupOptions? History => history;

    /// <summary>The key of the message. Null if the group does not retain the message.</summary>
    public RetainedKey? Key => key;

    /// <summary>
    /// The reason why the group cannot retain the message. The publisher sets this property if Redis has refused the
    /// batch because of this message.
    /// </summary>
    public string? Refusal { get; set; }

    /// <summary>The timestamp of the publish call.</summary>
    public long Timestamp => timestamp;

    /// <summary>True after the batch of this entry has started. The lock of the group guards this property.</summary>
    public bool IsInFlight { get; set; }

    /// <summary>True if this object no longer references the message. A batch must not contain such an entry.</summary>
    public bool IsDropped => _message is null;

    /// <summary>
    /// Drops the message and returns its bytes to the budget. Do not call this method for a message in a batch
    /// before the batch has ended.
    /// </summary>
    public void Drop()
    {
        Debug.Assert(!IsDropped);
        _message = null;
        budget.Release(reservedBytes);
    }

    public void Succeed(Position position) => TrySetResult(position);

    public void Fail(Exception exception)
    {
        TrySetException(exception);
        // After a cancellation, no caller reads the exception. Read the exception here. Otherwise, the runtime reports
        // an unobserved exception.
        _ = Task.Exception;
    }
}
