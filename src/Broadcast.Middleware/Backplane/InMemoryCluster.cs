using System.Collections.Concurrent;
using System.Security.Cryptography;

namespace Broadcast.Middleware;

/// <summary>
/// A cluster within one process: broadcasts that are given it, in however many hosts, are one. For tests of apps that run on several nodes.
/// </summary>
public sealed class InMemoryCluster
{
    readonly ConcurrentDictionary<string, Channel> _groups = new(StringComparer.Ordinal);

    /// <summary>How many groups it knows of.</summary>
    internal int Count => _groups.Count;

    /// <summary>One more node.</summary>
    public IBackplane CreateNode() => new Node(this);

    /// <summary>As if the cluster had lost its memory: each group begins anew, and every node is told.</summary>
    public void Forget()
    {
        foreach (var (_, group) in _groups) group.Forget();
    }

    Channel ChannelOf(string group) => _groups.GetOrAdd(group, static name => new Channel(name));

    sealed class Channel(string name)
    {
        // What a node may need that is about to catch up: here, nobody ever does.
        readonly Queue<(byte[] Message, long At)> _history = new();
        readonly List<Node> _nodes = [];
        readonly Dictionary<string, (Node Node, byte[] Value)> _members = new(StringComparer.Ordinal);
        readonly Lock _gate = new();
        ulong _epoch = NewEpoch();
        long _offset;
        long _bytes;

        public Position Publish(ReadOnlyMemory<byte> message, GroupOptions? history)
        {
            lock (_gate)
            {
                var position = new Position(_epoch, ++_offset);
                if (history is { HistoryMessages: > 0 })
                {
                    _history.Enqueue((message.ToArray(), Environment.TickCount64));
                    _bytes += message.Length;
                    Trim(history);
                }

                foreach (var node in _nodes) node.Receiver.OnMessage(name, position, message);
                return position;
            }
        }

        public BackplaneSubscription Subscribe(Node node, GroupOptions? history)
        {
            lock (_gate)
            {
                if (_nodes.Contains(node)) throw new InvalidOperationException("This node has subscribed to the group already.");
                _nodes.Add(node);
                if (history is not null) Trim(history);
                return new(new(_epoch, _offset), [.. _history.Select(static entry => (ReadOnlyMemory<byte>)entry.Message)]);
            }
        }

        public void Unsubscribe(Node node)
        {
            lock (_gate) _nodes.Remove(node);
        }

        public void Forget()
        {
            lock (_gate)
            {
                (_epoch, _offset, _bytes) = (NewEpoch(), 0, 0);
                _history.Clear();
                foreach (var node in _nodes) node.Receiver.OnLost(name);
                _nodes.Clear();
            }
        }

        public void SetMember(Node node, string member, byte[] value)
        {
            lock (_gate) _members[member] = (node, value);
        }

        public void RemoveMember(Node node, string member)
        {
            lock (_gate)
            {
                if (_members.TryGetValue(member, out var known) && known.Node == node) _members.Remove(member);
            }
        }

        public void RemoveMembers(Node node)
        {
            lock (_gate)
            {
                foreach (var (member, known) in _members)
                {
                    if (known.Node == node) _members.Remove(member);
                }
            }
        }

        public IReadOnlyList<BackplaneMember> Members()
        {
            lock (_gate) return [.. _members.Select(static member => new BackplaneMember(member.Key, member.Value.Value))];
        }

        public long CountMembers()
        {
            lock (_gate) return _members.Count;
        }

        void Trim(GroupOptions history)
        {
            while (_history.TryPeek(out var oldest) && (_history.Count > history.HistoryMessages || _bytes > history.HistoryBytes
                || (history.HistoryAge != Timeout.InfiniteTimeSpan && Environment.TickCount64 - oldest.At > history.HistoryAge.TotalMilliseconds)))
            {
                _bytes -= _history.Dequeue().Message.Length;
            }
        }

        static ulong NewEpoch() => BitConverter.ToUInt64(RandomNumberGenerator.GetBytes(8));
    }

    sealed class Node(InMemoryCluster cluster) : IBackplane, IDisposable
    {
        IBackplaneReceiver? _receiver;

        public IBackplaneReceiver Receiver => _receiver ?? throw new InvalidOperationException("The node has not been started.");

        public void Start(IBackplaneReceiver receiver)
        {
            ArgumentNullException.ThrowIfNull(receiver);
            if (Interlocked.CompareExchange(ref _receiver, receiver, null) is not null)
                throw new InvalidOperationException("The node has been started already: each broadcast needs one of its own.");
        }

        public ValueTask<Position> PublishAsync(string group, ReadOnlyMemory<byte> message, GroupOptions? history, CancellationToken cancellationToken)
        {
            cancellationToken.ThrowIfCancellationRequested();
            return new(cluster.ChannelOf(group).Publish(message, history));
        }

        public ValueTask<BackplaneSubscription> SubscribeAsync(string group, GroupOptions? history, CancellationToken cancellationToken)
        {
            cancellationToken.ThrowIfCancellationRequested();
            return new(cluster.ChannelOf(group).Subscribe(this, history));
        }

        public void Unsubscribe(string group) => cluster.ChannelOf(group).Unsubscribe(this);

        public void SetMember(string group, string member, ReadOnlyMemory<byte> value) => cluster.ChannelOf(group).SetMember(this, member, value.ToArray());

        public void RemoveMember(string group, string member) => cluster.ChannelOf(group).RemoveMember(this, member);

        public ValueTask<IReadOnlyList<BackplaneMember>> GetMembersAsync(string group, CancellationToken cancellationToken) => new(cluster.ChannelOf(group).Members());

        public ValueTask<long> CountMembersAsync(string group, CancellationToken cancellationToken) => new(cluster.ChannelOf(group).CountMembers());

        public void Dispose()
        {
            foreach (var (_, group) in cluster._groups)
            {
                group.Unsubscribe(this);
                group.RemoveMembers(this);
            }
        }
    }
}
