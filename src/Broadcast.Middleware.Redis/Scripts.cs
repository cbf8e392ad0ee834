namespace Broadcast.Middleware;

/// <summary>What has to be one step, in Lua. Numbers are doubles there: exact up to 2^53, and formatted by hand, for tostring would write 1e+14.</summary>
static class Scripts
{
    /// <summary>What <see cref="Publish"/> answers when a later batch of the same node has been taken already: this one was given up.</summary>
    public const string Superseded = "SUPERSEDED";

    /// <summary>
    /// KEYS: state, stream, index, taken. ARGV: epoch if there is none, channel, node, batch number, count, bytes, messages, then of the repair window
    /// and of the history each messages, bytes and milliseconds, then for how many milliseconds to keep the stream (0 for ever) and what was taken.
    /// Answers epoch and last offset.
    /// </summary>
    public const string Publish = """
        local taken = redis.call('GET', KEYS[4])
        if taken then
          local number, epoch, last = string.match(taken, '^(%d+) (%x+) (%d+)$')
          if tonumber(number) == tonumber(ARGV[4]) then return {epoch, last} end
          if tonumber(number) > tonumber(ARGV[4]) then return redis.error_reply('SUPERSEDED by a later batch') end
        end
        -- Where a key is not ours, the script has to end before it writes.
        redis.call('XLEN', KEYS[2])
        redis.call('LLEN', KEYS[3])
        local state = redis.call('HMGET', KEYS[1], 'e', 'g', 'b')
        local epoch, before, bytes = state[1], state[2], tonumber(state[3])
        if not epoch then
          epoch, before, bytes = ARGV[1], '-', 0
          redis.call('DEL', KEYS[2], KEYS[3])
          redis.call('HSET', KEYS[1], 'e', epoch)
        end
        local tag = ARGV[3] .. ':' .. ARGV[4]
        local offset = redis.call('HINCRBY', KEYS[1], 'o', ARGV[5])
        local last = string.format('%.0f', offset)
        local clock = redis.call('TIME')
        local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
        local at = string.format('%.0f', now)
        bytes = bytes + ARGV[6]
        local sum = string.format('%.0f', bytes)
        redis.call('HSET', KEYS[1], 'g', tag, 'b', sum)
        redis.call('XADD', KEYS[2], last .. '-0', 'c', ARGV[5], 't', at, 'g', tag, 'b', ARGV[7])
        redis.call('RPUSH', KEYS[3], last .. ' ' .. sum .. ' ' .. at)
        local function within(newer, size, age, i)
          return newer < tonumber(ARGV[i]) and size < tonumber(ARGV[i + 1]) and age <= tonumber(ARGV[i + 2])
        end
        local trimmed
        -- Not all at once where much has become too old: everybody else waits meanwhile.
        for _ = 1, 256 do
          local o, b, t = string.match(redis.call('LINDEX', KEYS[3], 0), '^(%d+) (%d+) (%d+)$')
          local newer, size, age = offset - o, bytes - b, now - t
          if newer == 0 or within(newer, size, age, 8) or within(newer, size, age, 11) then break end
          redis.call('LPOP', KEYS[3])
          trimmed = o
        end
        if trimmed then redis.call('XTRIM', KEYS[2], 'MINID', '=', string.format('%.0f', trimmed + 1) .. '-0') end
        if ARGV[14] == '0' then
          for i = 1, 3 do redis.call('PERSIST', KEYS[i]) end
        else
          redis.call('PEXPIRE', KEYS[1], ARGV[14] + 60000)
          redis.call('PEXPIRE', KEYS[2], ARGV[14])
          redis.call('PEXPIRE', KEYS[3], ARGV[14])
        end
        redis.call('SET', KEYS[4], ARGV[4] .. ' ' .. epoch .. ' ' .. last, 'PX', ARGV[15])
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
    /// them to other messages: then the offset is behind the node's, or the batch there has another tag. The epoch ends, for everyone.
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
          if not batches[1] or batches[1][1] ~= id then return false end
          for i = 1, #batches[1][2], 2 do
            if batches[1][2][i] == 'g' then same = batches[1][2][i + 1] == ARGV[3] end
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
