using System.Diagnostics.CodeAnalysis;
using System.Text.Json;

namespace Broadcast.Middleware;

/// <summary>The states of groups' members, for one client of <see cref="JsonProtocol"/>: it sets its own and is told those of the groups it subscribed to.</summary>
/// <remarks>
/// One batch at a time: what changes while the client has not taken the last one gathers in the feeds, where the latest of each member counts.
/// So a slow client costs its lane no more than a batch, and others nothing.
/// </remarks>
sealed class GroupStates(Broadcaster broadcaster, Connection connection, ProtocolContext context) : IThreadPoolWorkItem
{
    public static readonly (string?, string) NotSubscribable = ("Forbidden", "This client may not subscribe to the group's states: it is no member, and may not join.");

    // Held while it is sent to, so that nothing comes after the end of a subscription.
    readonly Lock _sending = new();
    readonly Dictionary<string, GroupStateSubscription> _subscriptions = new(StringComparer.Ordinal);
    bool _hasEnded;

    // Held for moments, by whoever changes a state too: nothing else is locked within.
    readonly Lock _gate = new();
    readonly Queue<GroupStateSubscription> _due = new();
    bool _isBusy; // From the first news until everything has been sent and taken.
    bool _isUnread;

    /// <summary>A fourth of what a client may be behind: where the last batch seems taken a moment too early, two wait, and other messages fit in too.</summary>
    int Most => broadcaster.Options.MaxBacklogBytes / 4;

    /// <summary>Whether it is a JSON object of strings, which can be told.</summary>
    public static bool IsState(ReadOnlyMemory<byte> state)
    {
        var reader = new Utf8JsonReader(state.Span);
        try
        {
            if (!reader.Read() || reader.TokenType != JsonTokenType.StartObject) return false;
            while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
            {
                // Asking for the text finds what is no Unicode.
                reader.GetString();
                if (!reader.Read() || reader.TokenType != JsonTokenType.String) return false;
                reader.GetString();
            }

            return !reader.Read();
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException)
        {
            return false;
        }
    }

    /// <summary>Sets a client's own state; what is wrong, if it cannot be.</summary>
    public static (string?, string) Set(Broadcaster broadcaster, Connection connection, string group, ReadOnlyMemory<byte> state)
    {
        if (broadcaster.Presence.ProblemOf(state) is { } problem) return ("BadRequest", problem);
        return connection.SetState(group, state.ToArray()) ? (null, "") : ("Forbidden", "This client is not a member of the group: join it first.");
    }

    /// <summary>What is wrong, if one more cannot be subscribed to.</summary>
    public (string?, string) Check(string group)
    {
        lock (_sending)
        {
            if (_subscriptions.ContainsKey(group) || _subscriptions.Count < broadcaster.Options.MaxGroupsPerConnection) return (null, "");
            return ("BadRequest",
                $"The connection is subscribed to the states of {_subscriptions.Count} groups and {nameof(BroadcastOptions.MaxGroupsPerConnection)} " +
                "allows no more: unsubscribe from one, or raise the option.");
        }
    }

    /// <summary>After <see cref="Check"/>: the client is sent a snapshot, then what changes. Nothing more for a group it is subscribed to.</summary>
    public void Subscribe(string group)
    {
        lock (_sending)
        {
            if (_hasEnded || _subscriptions.ContainsKey(group)) return;
            var subscription = new GroupStateSubscription(group, OnNews);
            _subscriptions.Add(group, subscription);
            broadcaster.Presence.Subscribe(subscription);
        }
    }

    public void Unsubscribe(string group)
    {
        lock (_sending)
        {
            if (_subscriptions.Remove(group, out var subscription)) End(subscription);
        }
    }

    /// <summary>Sends all snapshots again, for a client that may have missed something.</summary>
    public void Restart()
    {
        lock (_sending)
        {
            foreach (var subscription in _subscriptions.Values) subscription.Feed.Restart(subscription);
        }

        // What it has not taken may never come to it.
        OnRead();
    }

    /// <summary>The connection has ended for good.</summary>
    public void End()
    {
        lock (_sending)
        {
            _hasEnded = true;
            foreach (var subscription in _subscriptions.Values) End(subscription);
            _subscriptions.Clear();
        }
    }

    void OnNews(GroupStateSubscription subscription)
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

    /// <summary>On the pump: the client has taken all it was sent by itself.</summary>
    public void OnRead()
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
            // Such as a registry that throws.
            connection.CloseFailed(exception);
        }
    }

    void SendDue()
    {
        var sent = 0;
        while (sent < Most && TryTakeDue(out var subscription))
        {
            if (subscription.HasEnded) continue;
            var message = subscription.Feed.Take(subscription, Most - sent, out var hasMore);
            if (hasMore) OnNews(subscription);
            if (message.IsEmpty) continue;
            context.Send(message);
            sent += message.Length;
        }

        if (sent == 0)
        {
            Continue();
            return;
        }

        Volatile.Write(ref _isUnread, true);
        // All of it may have been taken by now: then another turn says so.
        connection.Writer.Pump.Post(connection.Writer);
    }

    /// <summary>By whoever has found it busy, with nothing under way.</summary>
    void Continue()
    {
        lock (_gate)
        {
            _isBusy = _due.Count > 0;
            if (!_isBusy) return;
        }

        ThreadPool.UnsafeQueueUserWorkItem(this, preferLocal: false);
    }

    bool TryTakeDue([NotNullWhen(true)] out GroupStateSubscription? subscription)
    {
        lock (_gate)
        {
            if (!_due.TryDequeue(out subscription)) return false;
            subscription.IsDue = false;
            return true;
        }
    }

    void End(GroupStateSubscription subscription)
    {
        subscription.HasEnded = true;
        broadcaster.Presence.Unsubscribe(subscription);
    }
}
