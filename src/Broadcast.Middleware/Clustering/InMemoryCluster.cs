using System.Collections.Concurrent;
using System.Security.Cryptography;
using Broadcast.Middleware.Logs;
using Broadcast.Middleware.Publishing;

namespace Broadcast.Middleware;

/// <summary>
/// A cluster in one process. The broadcasts of several hosts become one broadcast. Use this class to test apps that run
/// on several nodes.
/// </summary>
public sealed class InMemoryCluster
{
    const int MaxMessageIds = 100_000;

    readonly PublishedIds _ids = new(MaxMessageIds, TimeProvider.System);
    readonly PublishedIds _reservations = new(MaxMessageIds, TimeProvider.System);
    readonly ConcurrentDictionary<string, Channel> _groups = new(StringComparer.Ordinal);

    /// <summary>The number of groups.</summary>
    internal int Count => _groups.Count;

    /// <summary>Creates the backplane of a new node.</summary>
    public IBackplane CreateNode() => new Node(this);

    /// <summary>
    /// Simulates a cluster that lost its data. Each group starts a new epoch, and every subscribed node receives
    /// <see cref="IBackplaneReceiver.OnLost"/>.
    /// </summary>
    public void Forget()
    {
        foreach (var (name, _) in _groups) With(name, static channel => channel.Forget());
    }

    /// <summary>
    /// Runs an action on a group, under the lock of the group. A group exists while the group has a subscribed node, a
    /// member, a history or a retained message.
    /// </summary>
    T With<T>(string name, Func<Channel, T> act)
    {
        while (true)
        {
            var channel = _groups.GetOrAdd(name, static name => new Channel(name));
            lock (channel.Gate)
            {
                // If another thread has removed the channel, get a new channel.
                if (channel.IsRemoved) continue;
                var result = act(channel);
                if (!channel.IsEmpty) return result;
                channel.IsRemoved = true;
                _groups.TryRemove(new(name, channel));
                return result;
            }
        }
    }

    /// <summary>The data of a group. Code that uses a channel must hold <see cref="Gate"/>.</summary>
    sealed class Channel(string name)
    {
        readonly Queue<(byte[] Message, long At)> _history = new();
        readonly Dictionary<string, RetainedMessage> _retained = new(StringComparer.Ordinal);
        readonly List<Node> _nodes = [];
        readonly Dictionary<string, (Node Node, byte[] Value)> _members = new(StringComparer.Ordinal);
        ulong _epoch = NewEpoch();
        long _offset;
        long _bytes;
        long _retainedBytes;
        GroupOptions? _limits;

        public Lock Gate { get; } = new();

        public bool IsRemoved { get; set; }

        /// <summary>True if the cluster can remove the channel, because the channel contains no data.</summary>
        public bool IsEmpty =>
            _nodes.Count == 0 && _members.Count == 0 && _limits is null && _retained.Count == 0;

        public Position Publish(ReadOnlyMemory<byte> message, GroupOptions? history, RetainedKey? key)
        {
            if (key is { } retainedKey) Retain(retainedKey, message, history!);
            var position = new Position(_epoch, ++_offset);
            // After the first stored message, store every message. The history must have no gaps.
            if (history is { HistoryMessages: > 0 }) _limits = history;
            if (_limits is not null)
            {
                _history.Enqueue((message.ToArray(), Environment.TickCount64));
                _bytes += message.Length;
                Trim(_limits);
            }

            foreach (var node in _nodes) node.Receiver.OnMessage(name, position, message);
            return position;
        }

        public (Position, bool) PublishOnce(
            PublishedIds ids,
            string id,
            TimeSpan window,
            ReadOnlyMemory<byte> message,
            GroupOptions? history,
            RetainedKey? key)
        {
            if (!ids.TryClaim(RecipientsKind.Group, name, id, window, out var entry))
                return (entry.Position!.Value, true);
            try
            {
                if (key is { } retainedKey) Retain(retainedKey, message, history!);
            }
            catch (InvalidOperationException)
            {
                ids.Release(RecipientsKind.Group, name, id, entry);
                throw;
            }

            // Record the position before the delivery. If a receiver throws an exception, a repeated publish must not
            // publish a second message.
            entry.Complete(new(_epoch, _offset + 1));
            return (Publish(message, history, null), false);
        }

        public bool PublishTransient(ReadOnlyMemory<byte> message)
        {
            var after = new Position(_epoch, _offset);
            foreach (var node in _nodes) node.Receiver.OnTransientMessage(name, after, message);
            return true;
        }

        public BackplaneSubscription Subscribe(Node node, GroupOptions? history)
        {
            if (_nodes.Contains(node))
            {
                throw new InvalidOperationException(
                    "This node has already subscribed to the group. Unsubscribe first.");
            }

            _nodes.Add(node);
            if (history is not null) Trim(history);
            return new(new(_epoch, _offset), [.. _history.Select(static entry => (ReadOnlyMemory<byte>)entry.Message)])
            {
                Retained = [.. _retained.Values.OrderBy(static retained => retained.Offset)],
            };
        }

        public bool Unsubscribe(Node node) => _nodes.Remove(node);

        public bool Forget()
        {
            (_epoch, _offset, _bytes, _retainedBytes, _limits) = (NewEpoch(), 0, 0, 0, null);
            _history.Clear();
            _retained.Clear();
            foreach (var node in _nodes) node.Receiver.OnLost(name);
            _nodes.Clear();
            return true;
        }

        public bool SetMember(Node node, string member, byte[] value)
        {
            _members[member] = (node, value);
            return true;
        }

        public bool RemoveMember(Node node, string member) =>
            _members.TryGetValue(member, out var known) && known.Node == node && _members.Remove(member);

        public bool Remove(Node node)
        {
            foreach (var (member, known) in _members)
            {
                if (known.Node == node) _members.Remove(member);
            }

            return Unsubscribe(node);
        }

        public IReadOnlyList<BackplaneMember> Members() =>
            [.. _members.Select(static member => new BackplaneMember(member.Key, member.Value.Value))];

        public long CountMembers() => _members.Count;

        /// <summary>Replaces or removes the retained value of a key. Call this method before the publish.</summary>
        /// <exception cref="InvalidOperationException">The group cannot retain the message.</exception>
        void Retain(RetainedKey key, ReadOnlyMemory<byte> message, GroupOptions limits)
        {
            var known = _retained.GetValueOrDefault(key.Name);
            var bytes = _retainedBytes - (known is null ? 0 : RetainedValues.CostOf(known.Message.Length, key.Name));
            if (!key.IsRemoved) bytes += RetainedValues.CostOf(message.Length, key.Name);
            var count = _retained.Count + (known is null ? 1 : 0);
            if (!key.IsRemoved && RetainedValues.Problem(limits, count, bytes) is { } problem)
                throw new InvalidOperationException($"The group '{name}' cannot retain the message. {problem}");
            _retainedBytes = bytes;
            if (key.IsRemoved) _retained.Remove(key.Name);
            else _retained[key.Name] = new(_offset + 1, message.ToArray());
        }

        void Trim(GroupOptions history)
        {
            while (_history.TryPeek(out var oldest))
            {
                var isTooMuch = _history.Count > history.HistoryMessages || _bytes > history.HistoryBytes;
                if (!isTooMuch && !IsTooOld(oldest.At, history.HistoryAge)) return;
                _bytes -= _history.Dequeue().Message.Length;
            }
        }

        static bool IsTooOld(long at, TimeSpan maxAge) =>
            maxAge != Timeout.InfiniteTimeSpan && Environment.TickCount64 - at > maxAge.TotalMilliseconds;

        static ulong NewEpoch() => BitConverter.ToUInt64(RandomNumberGenerator.GetBytes(8));
    }

    sealed class Node(InMemoryCluster cluster) : IBackplane, IDisposable
    {
        IBackplaneReceiver? _receiver;

        public IBackplaneReceiver Receiver =>
            _receiver ?? throw new InvalidOperationException("The node has not been started. Call Start first.");

        public void Start(IBackplaneReceiver receiver)
        {
            ArgumentNullException.ThrowIfNull(receiver);
            if (Interlocked.CompareExchange(ref _receiver, receiver, null) is null) return;
            throw new InvalidOperationException("The node has already been started. Create a node for each broadcast.");
        }

        public ValueTask<Position> PublishAsync(
            string group,
            ReadOnlyMemory<byte> message,
            GroupOptions? history,
            RetainedKey? key,
            CancellationToken cancellationToken)
        {
            cancellationToken.ThrowIfCancellationRequested();
            return new(cluster.With(group, channel => channel.Publish(message, history, key)));
        }

        public ValueTask<(Position Position, bool IsDuplicate)> PublishOnceAsync(
            string group,
            string id,
            TimeSpan window,
            ReadOnlyMemory<byte> message,
            GroupOptions? history,
            RetainedKey? key,
            CancellationToken cancellationToken)
        {
            cancellationToken.ThrowIfCancellationRequested();
            return new(cluster.With(
                group, channel => channel.PublishOnce(cluster._ids, id, window, message, history, key)));
        }

        public ValueTask<ReadOnlyMemory<byte>?> ReserveAsync(
            string group, string id, TimeSpan window, ReadOnlyMemory<byte> value, CancellationToken cancellationToken)
        {
            cancellationToken.ThrowIfCancellationRequested();
            return new(cluster.With(group, _ => Reserve()));

            ReadOnlyMemory<byte>? Reserve()
            {
                // Under the lock of the group, no publish holds a claim that the publish may still release.
                if (cluster._ids.IsComplete(RecipientsKind.Group, group, id)) return null;
                if (cluster._reservations.TryClaim(RecipientsKind.Group, group, id, window, out var entry))
                    entry.Value = value.ToArray();
                return entry.Value!;
            }
        }

        public ValueTask PublishTransientAsync(
            string group, ReadOnlyMemory<byte> message, CancellationToken cancellationToken)
        {
            cancellationToken.ThrowIfCancellationRequested();
            cluster.With(group, channel => channel.PublishTransient(message));
            return default;
        }

        public ValueTask<BackplaneSubscription> SubscribeAsync(
            string group, GroupOptions? history, CancellationToken cancellationToken)
        {
            cancellationToken.ThrowIfCancellationRequested();
            return new(cluster.With(group, channel => channel.Subscribe(this, history)));
        }

        public void Unsubscribe(string group) => cluster.With(group, channel => channel.Unsubscribe(this));

        public void SetMember(string group, string member, ReadOnlyMemory<byte> value) =>
            cluster.With(group, channel => channel.SetMember(this, member, value.ToArray()));

        public void RemoveMember(string group, string member) =>
            cluster.With(group, channel => channel.RemoveMember(this, member));

        public ValueTask<IReadOnlyList<BackplaneMember>> GetMembersAsync(
            string group, CancellationToken cancellationToken) =>
            new(cluster.With(group, static channel => channel.Members()));

        public ValueTask<long> CountMembersAsync(string group, CancellationToken cancellationToken) =>
            new(cluster.With(group, static channel => channel.CountMembers()));

        public void Dispose()
        {
            foreach (var (name, _) in cluster._groups) cluster.With(name, channel => channel.Remove(this));
        }
    }
}
