using System.Runtime.InteropServices;
using System.Security.Cryptography;
using Broadcast.Middleware.Logs;

namespace Broadcast.Middleware.Delivery;

/// <summary>
/// A log and its members. A publish appends the message once, and then notifies each pump that has members of the
/// group. Readers inside the app subscribe like members, but do not count as members.
/// </summary>
sealed class Group
{
    readonly MessageLog _log;
    GroupShard[] _shards = [];
    bool _isRemoved;
    bool _hasHadMembers;

    /// <summary>Creates a group of this node.</summary>
    public Group(string name, SequenceClock clock, LogSettings settings, TimeProvider time)
        : this(name, clock, settings, time, new(NewEpoch(), 0), LifetimeOf(settings))
    {
    }

    /// <summary>Creates a group whose log starts after a position.</summary>
    public Group(
        string name,
        SequenceClock clock,
        LogSettings settings,
        TimeProvider time,
        Position after,
        GroupLifetime lifetime)
    {
        Name = name;
        Lifetime = lifetime;
        var history = settings.History is { } limits ? new LogHistory(limits, time) : null;
        var retained = settings.Retained is { } retainedLimits ? new RetainedValues(retainedLimits, time) : null;
        _log = new MessageLog(clock, settings, history, after.Offset + 1, retained)
        {
            Name = name.Length == 0 ? null : name,
            Epoch = after.Epoch,
        };
    }

    public string Name { get; }

    public GroupLifetime Lifetime { get; }

    public ulong Epoch => _log.Epoch;

    public long NextOffset => _log.NextOffset;

    /// <summary>The log of the transient messages. Null before the first transient message.</summary>
    public MessageLog? TransientLog => _log.Transient?.Log;

    /// <summary>The number of members. Readers inside the app do not count.</summary>
    public int Count => CountMembers(Volatile.Read(ref _shards));

    /// <summary>True if the group has no members and no readers inside the app.</summary>
    public bool IsEmpty => Volatile.Read(ref _shards).Length == 0;

    public bool IsRemoved => Volatile.Read(ref _isRemoved);

    /// <summary>
    /// The node of this group in the list of empty groups. Only the group directory uses this property.
    /// </summary>
    public LinkedListNode<Group>? EmptyNode { get; set; }

    /// <summary>
    /// Adds a subscriber, or replaces the cursor of a subscriber. Returns null if another thread has removed the group.
    /// </summary>
    /// <param name="subscriber">The writer of a connection, or a reader inside the app.</param>
    /// <param name="options">The options of the subscriber.</param>
    /// <param name="recovered">See <see cref="JoinResult.Recovered"/>.</param>
    /// <param name="position">
    /// The subscriber receives every message after this position, except for retained values that newer values replace.
    /// </param>
    public Cursor? Join(
        IGroupSubscriber subscriber, in JoinOptions options, out bool? recovered, out Position position)
    {
        Cursor cursor;
        lock (_log.Gate)
        {
            (recovered, position) = (null, default);
            if (_isRemoved) return null;
            _hasHadMembers = true;
            var start = _log.FindLocked(options.Replay, out recovered);
            position = new(_log.Epoch, start.Block.OffsetOf(start.Index) - 1);
            var cursorOptions = CreateCursorOptions(options, start, position, recovered);
            var shard = GetShardLocked(subscriber.Pump);
            shard.CountJoinLocked(subscriber);
            cursor = new Cursor(_log, subscriber, shard, cursorOptions);
            subscriber.AddCursor(cursor);
            if (cursor.NeedsTransientCursor) subscriber.AddCursor(cursor.OpenTransientLocked(isNewMember: true));
            // Leave after the join. Otherwise, the group could become empty.
            if (options.Replaced is { } replaced)
            {
                replaced.KeepOpening();
                Leave(replaced, subscriber);
            }
        }

        subscriber.Post();
        return cursor;
    }

    /// <summary>
    /// Removes a subscriber. The subscriber still receives the messages that were published before the call.
    /// </summary>
    /// <returns>True if the group is now empty.</returns>
    public bool Leave(Cursor cursor, IGroupSubscriber subscriber)
    {
        bool isEmpty;
        lock (_log.Gate)
        {
            if (cursor.NeedsTransientCursor) subscriber.AddCursor(cursor.OpenTransientLocked(isNewMember: false));
            cursor.LeaveLocked();
            // Without new messages, the reader would not check this log, and would not detect the leave.
            if (cursor.IsTracked) subscriber.AddCursor(cursor);
            var shard = (GroupShard)cursor.Set!;
            shard.CountLeaveLocked(subscriber);
            if (shard.Subscribers == 0) _shards = [.. _shards.Where(other => other != shard)];
            isEmpty = _shards.Length == 0;
            _isRemoved |= isEmpty && Lifetime == GroupLifetime.UntilEmpty;
        }

        subscriber.Post();
        return isEmpty;
    }

    /// <summary>Appends a message. Returns null if another thread has removed the group.</summary>
    /// <param name="message">The message. The log copies the payload.</param>
    /// <param name="metadata">The metadata of the entry.</param>
    /// <param name="excludedMembers">The number of members that the message excludes.</param>
    /// <exception cref="InvalidOperationException">The group cannot retain the message.</exception>
    public PublishResult? Publish(Message message, EntryMetadata? metadata, int excludedMembers)
    {
        Position? position = null;
        GroupShard[] shards;
        int members;
        lock (_log.Gate)
        {
            if (_isRemoved) return null;
            ThrowIfNotRetainableLocked(message, metadata);
            shards = _shards;
            members = CountMembers(shards);
            var log = message.IsTransient ? GetTransientLogLocked() : _log;
            if (log is not null)
            {
                AnnounceLocked(log);
                var offset = log.AppendLocked(message, metadata);
                if (!log.IsTransient) position = new(log.Epoch, offset);
            }
        }

        Post(shards);
        return new(position, Math.Max(0, members - excludedMembers));
    }

    /// <summary>
    /// Appends one message to several groups with one sequence number. A member of more than one group receives the
    /// message once.
    /// </summary>
    /// <param name="groups">
    /// The groups, in an order that is the same for all calls. The order prevents deadlocks.
    /// </param>
    /// <param name="message">The message. The log copies the payload.</param>
    /// <param name="metadata">The metadata of the entry.</param>
    /// <param name="clock">Assigns the sequence number of the message.</param>
    /// <returns>
    /// The sum of the member counts of all groups, or null if another thread has removed a group that keeps messages.
    /// </returns>
    /// <exception cref="InvalidOperationException">
    /// A group cannot retain the message. In this case, no group appends the message.
    /// </exception>
    public static int? Publish(
        IReadOnlyList<Group> groups, Message message, EntryMetadata? metadata, SequenceClock clock)
    {
        var commit = new CommitToken();
        var entry = EntryMetadata.WithCommit(metadata, commit);
        var shards = new GroupShard[groups.Count][];
        var logs = new MessageLog?[groups.Count];
        var (locked, members) = (0, 0);
        try
        {
            for (; locked < groups.Count; locked++) groups[locked]._log.Gate.Enter();
            if (groups.Any(static group => group is { Lifetime: GroupLifetime.UntilHistoryExpires, _isRemoved: true }))
                return null;
            foreach (var group in groups)
            {
                if (!group._isRemoved) group.ThrowIfNotRetainableLocked(message, metadata);
            }

            for (var i = 0; i < groups.Count; i++)
            {
                logs[i] = message.IsTransient ? groups[i].GetTransientLogLocked() : groups[i]._log;
                if (logs[i] is { } log) groups[i].AnnounceLocked(log);
            }

            // While this method holds all locks, these groups get no other message and no member joins or leaves. So
            // the sequence numbers in each log are in order.
            var sequence = clock.Next();
            for (var i = 0; i < groups.Count; i++)
            {
                var group = groups[i];
                shards[i] = group._shards;
                members += CountMembers(shards[i]);
                if (!group._isRemoved) logs[i]?.AppendLocked(message, entry, sequence);
            }
        }
        finally
        {
            commit.Commit();
            while (locked > 0)
            {
                locked--;
                logs[locked]?.EndAppendLocked();
                groups[locked]._log.Gate.Exit();
            }
        }

        foreach (var shardsOfGroup in shards) Post(shardsOfGroup);
        return members;
    }

    /// <summary>Appends a message that a node of the cluster published.</summary>
    /// <param name="message">The message. The log copies the payload.</param>
    /// <param name="metadata">The metadata of the entry.</param>
    /// <param name="age">The time since the publish.</param>
    /// <param name="createCopy">
    /// Creates the <see cref="EntryCopy"/> for a position. Null if the message is only for this group.
    /// </param>
    public void Append(Message message, EntryMetadata? metadata, TimeSpan age, Func<Position, EntryCopy>? createCopy)
    {
        GroupShard[] shards;
        lock (_log.Gate)
        {
            if ((message.IsTransient ? GetTransientLogLocked() : _log) is not { } log) return;
            if (createCopy is not null)
                metadata = EntryMetadata.WithCopy(metadata, createCopy(new(log.Epoch, log.NextOffset)));
            AnnounceLocked(log);
            log.AppendLocked(message, metadata, age);
            shards = _shards;
        }

        Post(shards);
    }

    /// <summary>
    /// Adds a retained value whose message is older than the log of this node. Call this method before the first append
    /// and the first join.
    /// </summary>
    /// <param name="message">The message, which has a key.</param>
    /// <param name="metadata">The metadata of the entry.</param>
    /// <param name="offset">The offset of the message. Each call has a higher offset.</param>
    /// <param name="age">The time since the publish.</param>
    public void Retain(Message message, EntryMetadata? metadata, long offset, TimeSpan age)
    {
        lock (_log.Gate) _log.RetainLocked(message, metadata, offset, age);
    }

    /// <summary>
    /// Records that the cluster has lost the next messages, and removes the group. The reader of each member detects
    /// the loss at the end of the log.
    /// </summary>
    public void Break()
    {
        GroupShard[] shards;
        lock (_log.Gate)
        {
            _log.BreakLocked();
            foreach (var shard in _shards) shard.AnnounceLocked();
            shards = _shards;
            _isRemoved = true;
        }

        Post(shards);
    }

    /// <summary>Frees memory of a group without new messages. Returns true if the group is now removed.</summary>
    public bool Trim()
    {
        GroupShard[] shards;
        lock (_log.Gate)
        {
            var hasMembers = _shards.Length > 0;
            _isRemoved |= _log.ExpireLocked(hasMembers) && !hasMembers && Lifetime != GroupLifetime.Owned;
            if (_isRemoved) return true;
            var isTrimmed = _log.TrimIdleLocked();
            if (_log.Transient is { KeepsFirstBlock: false } transient && transient.Log.TrimIdleLocked())
            {
                // The turn of a shard visits only the cursors of the main log. The announcement activates the tracked
                // cursors of the transient log.
                isTrimmed = true;
                foreach (var shard in _shards) shard.AnnounceLocked();
            }

            if (!isTrimmed) return false;
            shards = _shards;
        }

        // The readers move on to the new block. The garbage collector then frees the old block.
        Post(shards);
        return false;
    }

    /// <summary>Removes the group if the group is empty. Returns true if the group is now removed.</summary>
    public bool TryRemove()
    {
        lock (_log.Gate) return _isRemoved |= _shards.Length == 0;
    }

    /// <summary>
    /// Removes the group if the group has never had a member or a message. Returns true if the group is now removed.
    /// </summary>
    public bool TryRemoveUnused()
    {
        lock (_log.Gate) return _isRemoved |= !_hasHadMembers && _log.NextOffset == 1;
    }

    /// <inheritdoc cref="MessageLog.GetNewestLocked"/>
    public List<LogEntry> GetNewest(int max)
    {
        lock (_log.Gate) return _log.GetNewestLocked(max);
    }

    /// <summary>Gives each subscriber a turn.</summary>
    public void Wake()
    {
        GroupShard[] shards;
        lock (_log.Gate) shards = _shards;
        Post(shards);
    }

    /// <summary>
    /// Announces the next message to readers that each read many logs: see <see cref="TrackedCursors"/>. Call this
    /// method before the message gets its sequence number.
    /// </summary>
    /// <remarks>
    /// A reader that finds no message stops checking the log, unless an append is in progress. So mark the append
    /// first.
    /// </remarks>
    void AnnounceLocked(MessageLog log)
    {
        log.BeginAppendLocked();
        foreach (var shard in _shards) shard.AnnounceLocked();
    }

    /// <summary>
    /// Returns the log for a transient message. Returns null for an empty or removed group, because no client can
    /// receive the message.
    /// </summary>
    MessageLog? GetTransientLogLocked()
    {
        // A group removes each shard without subscribers.
        if (_isRemoved || _shards.Length == 0) return null;
        return _log.Transient?.Log
            ?? _log.OpenTransientLocked(_shards.Sum(static shard => shard.Subscribers), NewEpoch());
    }

    /// <exception cref="InvalidOperationException">The group cannot retain the message.</exception>
    void ThrowIfNotRetainableLocked(in Message message, EntryMetadata? metadata)
    {
        if (message is { Key: not null, IsTransient: false } && _log.ProblemLocked(message, metadata) is { } problem)
            throw new InvalidOperationException($"The group '{Name}' cannot retain the message. {problem}");
    }

    static void Post(GroupShard[] shards)
    {
        foreach (var shard in shards) shard.Pump.Post(shard);
    }

    static int CountMembers(GroupShard[] shards)
    {
        var members = 0;
        foreach (var shard in shards) members += shard.Members;
        return members;
    }

    static GroupLifetime LifetimeOf(LogSettings settings) =>
        settings.Kept is null ? GroupLifetime.UntilEmpty : GroupLifetime.UntilHistoryExpires;

    static ulong NewEpoch()
    {
        var epoch = 0ul;
        RandomNumberGenerator.Fill(MemoryMarshal.AsBytes(new Span<ulong>(ref epoch)));
        return epoch;
    }

    CursorOptions? CreateCursorOptions(
        in JoinOptions options, (Block Block, int Index) start, Position position, bool? recovered)
    {
        // In a cluster, the copies of one message arrive one by one. So a cursor must know its first offset: see
        // Cursor.Covers.
        var filter = options.Filters.Both;
        if (options.Encoder is null && filter is null && start == _log.End && Lifetime != GroupLifetime.Owned)
            return null;
        // The client of a replaced cursor already has the start.
        var opening = options.Replaced is null && options.Encoder is { } encoder
            ? encoder.EncodeStart(position, recovered, _log.NextOffset - 1)
            : default;
        var bookmark = options.KeepsUnacknowledged ? new Bookmark(_log) : null;
        bookmark?.SetLocked(start.Block, start.Index);
        return new CursorOptions
        {
            Encoder = options.Encoder,
            Start = start,
            // FirstOffset is the offset of the first entry after the retained values. Otherwise, Cursor.Covers would
            // also return true for messages that newer values have replaced.
            FirstOffset = start.Block.FirstOffset + (start.Block.IsRetained ? start.Block.Count : start.Index),
            Bookmark = bookmark,
            Filter = filter is null ? null : new CursorFilter(filter)
            {
                ReportedOffset = position.Offset,
                Chosen = options.Filters.FromClient,
            },
            LiveOffset = _log.NextOffset,
            LiveByte = _log.EndByte,
            Opening = opening.IsEmpty ? options.Opening : opening,
            // The opening of the connection is for the client. The start of the encoder is only for a member.
            KeepsOpeningAfterLeave = opening.IsEmpty,
        };
    }

    GroupShard GetShardLocked(Pump pump)
    {
        foreach (var shard in _shards)
        {
            if (shard.Pump == pump) return shard;
        }

        var added = new GroupShard(pump);
        _shards = [.. _shards, added];
        return added;
    }
}
