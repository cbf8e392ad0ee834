using Broadcast.Middleware.Redis.Connections;
using Broadcast.Middleware.Redis.Storage;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Members;

/// <summary>
/// Provides the members of all groups. The members of this node come from memory. The members of other nodes come from
/// Redis.
/// </summary>
/// <param name="connection">The connection to Redis.</param>
/// <param name="local">The members of this node.</param>
/// <param name="getNodeName">See <see cref="NodeHeartbeat.NodeName"/>.</param>
/// <param name="writer">Writes the members of this node to Redis.</param>
/// <param name="outages">Decides whether a query fails immediately.</param>
/// <param name="queryTimeout">The maximum time of a query.</param>
sealed class MemberDirectory(
    RedisConnection connection, LocalMembers local, Func<string?> getNodeName, MemberWriter writer,
    OutageCheck outages, TimeSpan queryTimeout)
{
    /// <summary>
    /// Sends a query only to masters. On a replica that has lost its master, the heartbeats of all nodes expire. So a
    /// replica must not answer.
    /// </summary>
    const CommandFlags FromMaster = CommandFlags.DemandMaster;

    public void Set(string group, string member, ReadOnlyMemory<byte> value) =>
        Change(group, member, value.ToArray());

    public void Remove(string group, string member) => Change(group, member, null);

    public async Task<IReadOnlyList<BackplaneMember>> ListAsync(string group, CancellationToken cancellationToken)
    {
        var members = new Dictionary<string, BackplaneMember>(StringComparer.Ordinal);
        // For this node, use the members in memory, because the copy in Redis may be older.
        if (local.TryGet(group, out var own)) own.CopyTo(members);
        var hashes = await QueryOtherNodesAsync(
            group, static (database, key) => database.HashGetAllAsync(key, FromMaster), cancellationToken);
        foreach (var entry in hashes.SelectMany(static hash => hash))
        {
            var name = KeySpace.Unescape((string)entry.Name!);
            members.TryAdd(name, new(name, (ReadOnlyMemory<byte>)entry.Value));
        }

        return [.. members.Values];
    }

    public async Task<long> CountAsync(string group, CancellationToken cancellationToken)
    {
        var counts = await QueryOtherNodesAsync(
            group, static (database, key) => database.HashLengthAsync(key, FromMaster), cancellationToken);
        return counts.Sum() + (local.TryGet(group, out var own) ? own.Count : 0);
    }

    void Change(string group, string member, byte[]? value)
    {
        if (local.Change(group, member, value)) writer.WriteSoon();
    }

    /// <summary>Queries the member hash of every other live node. Deletes the hashes of dead nodes.</summary>
    async Task<List<T>> QueryOtherNodesAsync<T>(
        string group, Func<IDatabase, RedisKey, Task<T>> query, CancellationToken cancellationToken)
    {
        var deadline = connection.GetDeadline(queryTimeout);
        if (await outages.FindAsync(group, deadline, cancellationToken) is { } outage) throw outage;
        var keySpace = await connection.GetKeySpaceAsync(deadline, cancellationToken);
        var keys = keySpace.ForGroup(group);
        return await connection.ExecuteAsync(
            async multiplexer =>
            {
                var database = multiplexer.GetDatabase();
                var nodes = (await database.SetMembersAsync(keys.Nodes, FromMaster))
                    .Select(static node => (string)node!)
                    .Where(node => node != getNodeName())
                    .ToArray();
                // Start all queries before the first wait, so that all queries together need one round trip.
                var heartbeats = nodes
                    .Select(node => database.KeyExistsAsync(keySpace.Heartbeat(node), FromMaster))
                    .ToArray();
                var results = nodes.Select(node => query(database, keys.Members(node))).ToArray();
                await Task.WhenAll([.. heartbeats, .. results]);
                var alive = new List<T>(nodes.Length);
                for (var i = 0; i < nodes.Length; i++)
                {
                    if (await heartbeats[i])
                    {
                        alive.Add(await results[i]);
                        continue;
                    }

                    // A dead node cannot delete its own members, so another node must delete them.
                    _ = database.ScriptEvaluateAsync(
                        Scripts.DeleteNode, [keys.Members(nodes[i]), keys.Nodes], [nodes[i]],
                        FromMaster | CommandFlags.FireAndForget);
                }

                return alive;
            },
            deadline, cancellationToken: cancellationToken);
    }
}
