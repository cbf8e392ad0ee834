using System.Diagnostics.CodeAnalysis;
using Broadcast.Middleware.Connections;

namespace Broadcast.Middleware.Presence;

/// <summary>
/// Sends one client the feeds that the client has subscribed to. The client first receives a snapshot of each feed, and
/// then each changed item.
/// </summary>
/// <remarks>
/// The sender sends one batch at a time. Until the writer has read this batch, the feeds collect the changes. A feed
/// keeps only the latest change of each member. So the private log of a slow client stays small, and a slow client does
/// not delay other clients.
/// </remarks>
/// <param name="source">Provides the feeds.</param>
/// <param name="connection">The connection of the client.</param>
/// <param name="send">Sends a text to the client.</param>
/// <param name="maxGroups">See <see cref="BroadcastOptions.MaxGroupsPerConnection"/>.</param>
/// <param name="maxBatchBytes">See <see cref="GetMaxBatchBytes"/>.</param>
sealed class FeedSender(
    IFeedSource source, Connection connection, Action<ReadOnlyMemory<byte>> send, int maxGroups, int maxBatchBytes)
    : IThreadPoolWorkItem
{
    // The thread that sends a batch holds this lock. So the sender sends nothing for a subscription that has ended.
    readonly Lock _sending = new();
    readonly Dictionary<string, FeedSubscription> _subscriptions = new(StringComparer.Ordinal);
    bool _hasEnded;

    // Every thread that changes an item takes this lock. Invariant: a thread that holds this lock takes no other lock.
    readonly Lock _gate = new();
    readonly Queue<FeedSubscription> _due = new();
    bool _isBusy; // True from the first change until the writer has read all batches.
    bool _isUnread; // True until the writer has read the last batch.

    /// <summary>Returns the maximum size of a batch in bytes.</summary>
    /// <remarks>
    /// <see cref="OnReceived"/> may run a moment before the client has received the last batch. A quarter of the
    /// maximum backlog leaves room for two batches and other messages.
    /// </remarks>
    public static int GetMaxBatchBytes(int maxBacklogBytes) => maxBacklogBytes / 4;

    /// <summary>
    /// Returns an error message if the client cannot subscribe to the group. Otherwise, returns null.
    /// </summary>
    public string? Problem(string group)
    {
        lock (_sending)
        {
            return _subscriptions.ContainsKey(group) || _subscriptions.Count < maxGroups
                ? null
                : $"The connection has subscribed to the states of {_subscriptions.Count} groups, the maximum of " +
                  $"{nameof(BroadcastOptions.MaxGroupsPerConnection)}. " +
                  "Unsubscribe from a group first, or raise the option.";
        }
    }

    /// <summary>
    /// Subscribes the client to a group. The client receives a snapshot and then the changes. The call has no effect if
    /// the client has already subscribed.
    /// </summary>
    public void Subscribe(string group)
    {
        lock (_sending)
        {
            if (_hasEnded || _subscriptions.ContainsKey(group)) return;
            var subscription = new FeedSubscription(group, OnChanged, connection.CloseFailed);
            _subscriptions.Add(group, subscription);
            source.Subscribe(subscription);
        }
    }

    public void Unsubscribe(string group)
    {
        lock (_sending)
        {
            if (_subscriptions.Remove(group, out var subscription)) End(subscription);
        }
    }

    /// <summary>Sends all snapshots again, because the client may have missed a batch.</summary>
    public void Restart()
    {
        lock (_sending)
        {
            foreach (var subscription in _subscriptions.Values) subscription.Feed.Restart(subscription);
        }

        // The client may never receive the last batch, so do not wait for that batch.
        OnReceived();
    }

    /// <summary>Ends all subscriptions.</summary>
    public void End()
    {
        lock (_sending)
        {
            _hasEnded = true;
            foreach (var subscription in _subscriptions.Values) End(subscription);
            _subscriptions.Clear();
        }
    }

    /// <summary>
    /// Sends the next batch after the writer has read the whole private log. The pump calls this method on its thread.
    /// </summary>
    public void OnReceived()
    {
        if (Volatile.Read(ref _isUnread) && Interlocked.Exchange(ref _isUnread, false)) Continue();
    }

    void IThreadPoolWorkItem.Execute()
    {
        try
        {
            lock (_sending) SendDue();
        }
        catch (Exception exception)
        {
            connection.CloseFailed(exception);
        }
    }

    void OnChanged(FeedSubscription subscription)
    {
        lock (_gate)
        {
            if (subscription.IsDue) return;
            subscription.IsDue = true;
            _due.Enqueue(subscription);
            if (_isBusy) return;
            _isBusy = true;
        }

        ThreadPool.UnsafeQueueUserWorkItem(this, preferLocal: false);
    }

    void SendDue()
    {
        var sent = 0;
        while (sent < maxBatchBytes && TryTakeDue(out var subscription))
        {
            if (subscription.HasEnded) continue;
            var message = subscription.Feed.Take(subscription, maxBatchBytes - sent, out var hasMore);
            if (hasMore) OnChanged(subscription);
            if (message.IsEmpty) continue;
            send(message);
            sent += message.Length;
        }

        if (sent == 0)
        {
            Continue();
            return;
        }

        Volatile.Write(ref _isUnread, true);
        // The writer may already have read the batch. Post makes the writer run again, and the writer then calls
        // OnReceived.
        connection.Writer.Post();
    }

    /// <summary>Sends the next batch, or becomes idle. Call this method only when no batch is in progress.</summary>
    void Continue()
    {
        lock (_gate)
        {
            _isBusy = _due.Count > 0;
            if (!_isBusy) return;
        }

        ThreadPool.UnsafeQueueUserWorkItem(this, preferLocal: false);
    }

    bool TryTakeDue([NotNullWhen(true)] out FeedSubscription? subscription)
    {
        lock (_gate)
        {
            if (!_due.TryDequeue(out subscription)) return false;
            subscription.IsDue = false;
            return true;
        }
    }

    void End(FeedSubscription subscription)
    {
        subscription.HasEnded = true;
        source.Unsubscribe(subscription);
    }
}
