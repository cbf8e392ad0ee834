using System.Collections.Concurrent;
using StackExchange.Redis;

namespace Broadcast.Middleware;

/// <summary>
/// The members that this node has, kept here and written to Redis, and everybody's, as Redis has them. Each node has a hash of its own per group, so that
/// it can be written anew as a whole, and forgotten as a whole when the node is dead.
/// </summary>
sealed class MemberBook(RedisLink link, RedisBackplaneOptions options, TimeProvider time, RedisLog log)
{
    const int WritesAtOnce = 256;
    static readonly TimeSpan Pause = TimeSpan.FromSeconds(1);

    /// <summary>What a dead node leaves in groups that nobody looks at goes away after this; what is alive is written again in half of it.</summary>
    static readonly TimeSpan Keep = TimeSpan.FromHours(1);

    readonly ConcurrentDictionary<string, MemberPage> _pages = new(StringComparer.Ordinal);
    readonly ConcurrentQueue<MemberPage> _dirty = new();
    readonly Signal _work = new(time);
    readonly TimeSpan _renewEvery = options.NodeTimeout / 3;

    // Nothing may keep the sign of life waiting for longer than it is good for.
    readonly TimeSpan _patience = options.PublishTimeout < options.NodeTimeout / 3 ? options.PublishTimeout : options.NodeTimeout / 3;

    // A node that was believed dead comes back under another name: what is swept of the old one is nothing of the new.
    volatile string _node = Epoch.New();
    long _writtenAll;
    volatile bool _writeAll;

    public void Set(string group, string member, ReadOnlyMemory<byte> value) => Change(group, member, value.ToArray());

    public void Remove(string group, string member) => Change(group, member, null);

    /// <summary>A connection has come back, perhaps to a Redis that knows less.</summary>
    public void WriteAllSoon()
    {
        _writeAll = true;
        _work.Set();
    }

    public async Task<IReadOnlyList<BackplaneMember>> ListAsync(string group, CancellationToken cancellationToken)
    {
        var deadline = link.DeadlineAfter(options.PublishTimeout);
        var keys = (await link.KeysAsync(deadline, cancellationToken)).Of(group);
        var members = new Dictionary<string, BackplaneMember>(StringComparer.Ordinal);
        // What this node knows of itself is newer than what Redis has been told.
        if (_pages.TryGetValue(group, out var own)) own.CopyTo(members);
        foreach (var entries in await OfOthersAsync(group, (database, node) => database.HashGetAllAsync(keys.Members(node)), deadline, cancellationToken))
        {
            foreach (var entry in entries)
            {
                var name = Keys.Unescape((string)entry.Name!);
                members.TryAdd(name, new(name, (ReadOnlyMemory<byte>)entry.Value));
            }
        }

        return [.. members.Values];
    }

    public async Task<long> CountAsync(string group, CancellationToken cancellationToken)
    {
        var deadline = link.DeadlineAfter(options.PublishTimeout);
        var keys = (await link.KeysAsync(deadline, cancellationToken)).Of(group);
        var counts = await OfOthersAsync(group, (database, node) => database.HashLengthAsync(keys.Members(node)), deadline, cancellationToken);
        return counts.Sum() + (_pages.TryGetValue(group, out var own) ? own.Count : 0);
    }

    /// <summary>Says that the node is alive, and writes what has changed, until it ends.</summary>
    public async Task WriteAsync(CancellationToken ending)
    {
        var renewed = 0L;
        while (!ending.IsCancellationRequested)
        {
            try
            {
                var due = renewed == 0 ? TimeSpan.Zero : _renewEvery - time.GetElapsedTime(renewed);
                if (due > TimeSpan.Zero) await _work.WaitAsync(due, ending);
                if (renewed == 0 || _writeAll || time.GetElapsedTime(renewed) >= _renewEvery)
                {
                    if (!await RenewAsync(isFirst: renewed == 0, ending))
                    {
                        await Task.Delay(Pause, time, ending);
                        continue;
                    }

                    renewed = time.GetTimestamp();
                }

                if (_writeAll || time.GetElapsedTime(_writtenAll) > Keep / 2)
                {
                    _writeAll = false;
                    _writtenAll = time.GetTimestamp();
                    foreach (var (_, page) in _pages)
                    {
                        if (page.Forget()) _dirty.Enqueue(page);
                    }
                }

                await WriteDirtyAsync(ending);
            }
            catch (OperationCanceledException) when (ending.IsCancellationRequested)
            {
                return;
            }
            catch (Exception exception)
            {
                log.Unexpected(exception);
                await Task.WhenAny(Task.Delay(Pause, time, ending));
            }
        }
    }

    /// <summary>The node goes: its members are gone at once.</summary>
    public async Task LeaveAsync(TimeSpan timeout)
    {
        if (!link.IsConnected) return;
        var deadline = link.DeadlineAfter(timeout);
        try
        {
            var keys = await link.KeysAsync(deadline);
            await link.UntilAsync(multiplexer => multiplexer.GetDatabase().KeyDeleteAsync(keys.Node(_node)), deadline, once: true);
        }
        catch (BackplaneException)
        {
            // They will be in some seconds.
        }
    }

    void Change(string group, string member, byte[]? value)
    {
        while (true)
        {
            var page = _pages.GetOrAdd(group, static name => new MemberPage(name));
            // It has just ended, and is no longer in the dictionary.
            if (!page.TryChange(member, value, out var isDirty)) continue;
            if (!isDirty) return;
            _dirty.Enqueue(page);
            _work.Set();
            return;
        }
    }

    /// <summary>Returns false if Redis could not be asked.</summary>
    async Task<bool> RenewAsync(bool isFirst, CancellationToken ending)
    {
        try
        {
            var deadline = link.DeadlineAfter(_patience);
            var keys = await link.KeysAsync(deadline, ending);
            var alive = await link.UntilAsync(multiplexer => multiplexer.GetDatabase().KeyExpireAsync(keys.Node(_node), options.NodeTimeout), deadline, cancellationToken: ending);
            if (alive) return true;
            if (!isFirst)
            {
                log.MembersForgotten();
                _node = Epoch.New();
            }

            await link.UntilAsync(multiplexer => multiplexer.GetDatabase().StringSetAsync(keys.Node(_node), "", options.NodeTimeout), deadline, cancellationToken: ending);
            _writeAll = true;
            return true;
        }
        catch (BackplaneException exception)
        {
            log.Retrying(exception.Message);
            return false;
        }
    }

    async Task WriteDirtyAsync(CancellationToken ending)
    {
        var some = new List<Task>();
        for (var count = _dirty.Count; count > 0 && _dirty.TryDequeue(out var page); count--)
        {
            some.Add(WriteAsync(page, ending));
            if (some.Count < WritesAtOnce) continue;
            await Task.WhenAll(some);
            some.Clear();
        }

        await Task.WhenAll(some);
    }

    async Task WriteAsync(MemberPage page, CancellationToken ending)
    {
        var deadline = link.DeadlineAfter(_patience);
        while (page.Take(out var anew, out var changes))
        {
            try
            {
                var keys = (await link.KeysAsync(deadline, ending)).Of(page.Group);
                await link.RunAsync(Scripts.Members, [keys.Members(_node), keys.Nodes], Arguments(anew, changes), deadline, cancellationToken: ending);
            }
            catch (BackplaneException exception)
            {
                // What Redis has of it is not known now.
                log.Retrying(exception.Message);
                page.Forget();
                _dirty.Enqueue(page);
                return;
            }
        }

        if (page.TryEnd()) _pages.TryRemove(new KeyValuePair<string, MemberPage>(page.Group, page));
    }

    RedisValue[] Arguments(bool anew, List<KeyValuePair<string, byte[]?>> changes)
    {
        var set = changes.Count(static change => change.Value is not null);
        var arguments = new List<RedisValue>(4 + set + changes.Count) { _node, Outbox.Milliseconds(Keep), anew ? 1 : 0, set };
        foreach (var (member, value) in changes)
        {
            if (value is not null) arguments.AddRange([Keys.Escape(member), value]);
        }

        foreach (var (member, value) in changes)
        {
            if (value is null) arguments.Add(Keys.Escape(member));
        }

        return [.. arguments];
    }

    async Task<List<T>> OfOthersAsync<T>(string group, Func<IDatabase, string, Task<T>> ask, long deadline, CancellationToken cancellationToken)
    {
        var all = await link.KeysAsync(deadline, cancellationToken);
        var keys = all.Of(group);
        return await link.UntilAsync(
            async multiplexer =>
            {
                var database = multiplexer.GetDatabase();
                var nodes = (await database.SetMembersAsync(keys.Nodes)).Select(static node => (string)node!).Where(node => node != _node).ToArray();
                var (alive, answers) = (new Task<bool>[nodes.Length], new Task<T>[nodes.Length]);
                for (var i = 0; i < nodes.Length; i++) (alive[i], answers[i]) = (database.KeyExistsAsync(all.Node(nodes[i])), ask(database, nodes[i]));
                await Task.WhenAll([.. alive, .. answers]);
                var found = new List<T>(nodes.Length);
                for (var i = 0; i < nodes.Length; i++)
                {
                    if (await alive[i]) found.Add(await answers[i]);
                    // Nobody else will clear up after it.
                    else _ = database.ScriptEvaluateAsync(Scripts.Sweep, [keys.Members(nodes[i]), keys.Nodes], [nodes[i]], CommandFlags.FireAndForget);
                }

                return found;
            },
            deadline, cancellationToken: cancellationToken);
    }
}
