namespace Broadcast.Middleware;

/// <summary>What has to be one step, in Lua. Numbers are doubles there: exact up to 2^53, and formatted by hand, for tostring would write 1e+14.</summary>
static class Scripts
{
    /// <summary>What <see cref="Publish"/> answers when a later batch of the same node has been taken already: this one was given up.</summary>
    public const string Superseded = "SUPERSEDED";

    /// <summary>
    /// KEYS: state, stream, index. ARGV: epoch if there is none, channel, node, batch number, count, bytes, messages, then of the repair window and of the
    /// history each messages, bytes and milliseconds, then for how many milliseconds to keep the stream (0 for ever) and what was taken. Answers epoch
    /// and last offset.
    /// </summary>
    /// <remarks>
    /// Each call costs Redis about a microsecond, so there are few: expiries are renewed once a second, and what is too old is cut off when there is a
    /// sixteenth too much of it (benchmarks/Broadcast.Redis.Benchmarks, publishes, 100 groups). Nothing is written before each key was found to be ours.
    /// </remarks>
    public const string Publish = """
        local state = redis.call('HMGET', KEYS[1], 'e', 'o', 'g', 'b', 'x', ARGV[3])
        local epoch, before, renewed, taken = state[1], state[3], state[5], state[6]
        if taken then
          local number, its, last = string.match(taken, '^(%d+) (%x+) (%d+)')
          if tonumber(number) == tonumber(ARGV[4]) then return {its, last} end
          if tonumber(number) > tonumber(ARGV[4]) then return redis.error_reply('SUPERSEDED by a later batch') end
        end
        local oldest
        if epoch then
          oldest = redis.call('LINDEX', KEYS[3], 0)
        else
          epoch, before, renewed = ARGV[1], '-', false
          redis.call('DEL', KEYS[2], KEYS[3])
        end
        local offset, bytes = (tonumber(state[2]) or 0) + ARGV[5], (tonumber(state[4]) or 0) + ARGV[6]
        local last, sum = string.format('%.0f', offset), string.format('%.0f', bytes)
        local clock = redis.call('TIME')
        local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
        local at = string.format('%.0f', now)
        local tag = ARGV[3] .. ':' .. ARGV[4]
        redis.call('XADD', KEYS[2], last .. '-0', 'c', ARGV[5], 't', at, 'g', tag, 'b', ARGV[7])
        redis.call('RPUSH', KEYS[3], last .. ' ' .. sum .. ' ' .. at)

        local keep, renewal = string.match(renewed or '', '^(%d+) (%d+)$')
        local expires = keep ~= ARGV[14] or now - renewal > 1000 or not oldest
        if expires then renewed = ARGV[14] .. ' ' .. at end
        redis.call('HSET', KEYS[1], 'e', epoch, 'o', last, 'g', tag, 'b', sum, 'x', renewed, ARGV[3], ARGV[4] .. ' ' .. epoch .. ' ' .. last .. ' ' .. at)
        if expires and ARGV[14] == '0' then
          for i = 1, 3 do redis.call('PERSIST', KEYS[i]) end
        elseif expires then
          redis.call('PEXPIRE', KEYS[1], ARGV[14] + 61000)
          redis.call('PEXPIRE', KEYS[2], ARGV[14] + 1000)
          redis.call('PEXPIRE', KEYS[3], ARGV[14] + 1000)
        end

        local function isKept(entry, times)
          local o, b, t = string.match(entry, '^(%d+) (%d+) (%d+)$')
          local newer, size, age = offset - o, bytes - b, now - t
          for i = 8, 11, 3 do
            if newer < ARGV[i] * times and size < ARGV[i + 1] * times and age <= ARGV[i + 2] * times then return true end
          end
          return newer == 0
        end
        if oldest and not isKept(oldest, 17 / 16) then
          -- Not all at once where much has become too old: everybody else waits meanwhile.
          local entries, old = redis.call('LRANGE', KEYS[3], 0, 255), 0
          while entries[old + 1] and not isKept(entries[old + 1], 1) do old = old + 1 end
          redis.call('LTRIM', KEYS[3], old, -1)
          redis.call('XTRIM', KEYS[2], 'MINID', '=', string.format('%.0f', string.match(entries[old], '^%d+') + 1) .. '-0')
        end

        if not taken and redis.call('HLEN', KEYS[1]) > 64 then
          -- A node has come: those that have gone are forgotten.
          local fields = redis.call('HGETALL', KEYS[1])
          for i = 1, #fields, 2 do
            local since = string.match(fields[i + 1], '^%d+ %x+ %d+ (%d+)$')
            if since and now - since > tonumber(ARGV[15]) then redis.call('HDEL', KEYS[1], fields[i]) end
          end
        end
        redis.call('PUBLISH', ARGV[2], epoch .. ' ' .. last .. ' ' .. ARGV[5] .. ' ' .. before .. ' ' .. tag .. '\n' .. ARGV[7])
        return {epoch, last}
        """;

    /// <summary>
    /// KEYS: state, stream, index. ARGV: epoch if there is none, milliseconds to keep it (0 for ever), how many of the newest batches are wanted. Answers
    /// epoch, last offset, tag, and what <see cref="Back"/> does.
    /// </summary>
    public const string Attach = """
        if redis.call('HSETNX', KEYS[1], 'e', ARGV[1]) == 1 then
          redis.call('DEL', KEYS[2], KEYS[3])
          redis.call('HSET', KEYS[1], 'o', 0, 'g', '-', 'b', 0)
        end
        if ARGV[2] == '0' then redis.call('PERSIST', KEYS[1]) else redis.call('PEXPIRE', KEYS[1], ARGV[2] + 60000) end
        local state = redis.call('HMGET', KEYS[1], 'e', 'o', 'g')
        local batches = {}
        if ARGV[3] ~= '0' then batches = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', ARGV[3]) end
        local clock = redis.call('TIME')
        return {state[1], state[2], state[3], {string.format('%.0f', clock[1] * 1000 + math.floor(clock[2] / 1000)), batches}}
        """;

    /// <summary>KEYS: state, stream. ARGV: epoch, offset, count. Answers the time and batches up to the offset, the newest first; nothing in another epoch.</summary>
    public const string Back = """
        if redis.call('HGET', KEYS[1], 'e') ~= ARGV[1] then return false end
        local clock = redis.call('TIME')
        return {string.format('%.0f', clock[1] * 1000 + math.floor(clock[2] / 1000)), redis.call('XREVRANGE', KEYS[2], ARGV[2] .. '-0', '-', 'COUNT', ARGV[3])}
        """;

    /// <summary>
    /// KEYS: state, stream, index. ARGV: epoch, offset, tag of the last batch that a node has, count, another epoch. Answers the last offset and the
    /// batches from that one on; nothing if the node cannot go on.
    /// </summary>
    /// <remarks>
    /// A Redis that came back with an older state, or a replica that was promoted before it had everything, has forgotten offsets, and may have given
    /// them to other messages: then the offset is behind the node's, or the batch there has another tag, or none ends there. The epoch ends, for everyone.
    /// </remarks>
    public const string Forward = """
        local state = redis.call('HMGET', KEYS[1], 'e', 'o', 'g')
        if state[1] ~= ARGV[1] then return false end
        local last, at = tonumber(state[2]), tonumber(ARGV[2])
        local same = last >= at
        local batches = {}
        if last == at then
          same = state[3] == ARGV[3]
        elseif same and at == 0 then
          batches = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', ARGV[4])
        elseif same then
          local id = ARGV[2] .. '-0'
          batches = redis.call('XRANGE', KEYS[2], id, '+', 'COUNT', ARGV[4])
          if batches[1] and batches[1][1] == id then
            for i = 1, #batches[1][2], 2 do
              if batches[1][2][i] == 'g' then same = batches[1][2][i + 1] == ARGV[3] end
            end
          else
            -- It has been trimmed, or no batch ends there, though the node had one that did.
            local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
            if not oldest or string.match(oldest[1], '^%d+') - oldest[2][2] >= at then return false end
            same = false
          end
        end
        if not same then
          redis.call('DEL', KEYS[2], KEYS[3])
          redis.call('HSET', KEYS[1], 'e', ARGV[5], 'o', 0, 'g', '-', 'b', 0)
          return false
        end
        return {state[2], batches}
        """;

    /// <summary>
    /// KEYS: members of a node, nodes. ARGV: node, milliseconds to keep it, 1 to forget what was there, how many to set, their names and values, the
    /// names to remove.
    /// </summary>
    public const string Members = """
        if ARGV[3] == '1' then redis.call('DEL', KEYS[1]) end
        local set = tonumber(ARGV[4])
        for i = 5, 4 + 2 * set, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
        for i = 5 + 2 * set, #ARGV do redis.call('HDEL', KEYS[1], ARGV[i]) end
        if redis.call('PEXPIRE', KEYS[1], ARGV[2]) == 1 then
          redis.call('SADD', KEYS[2], ARGV[1])
          redis.call('PEXPIRE', KEYS[2], ARGV[2])
        else
          redis.call('SREM', KEYS[2], ARGV[1])
        end
        """;

    /// <summary>KEYS: members of a node that is no more, nodes. ARGV: node.</summary>
    public const string Sweep = """
        redis.call('DEL', KEYS[1])
        redis.call('SREM', KEYS[2], ARGV[1])
        """;
}
