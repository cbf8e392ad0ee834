using System.Globalization;

namespace Broadcast.Middleware.Redis.Storage;

/// <summary>The Lua scripts. Redis executes each script as one atomic step.</summary>
/// <remarks>
/// Lua numbers are doubles, so integers are exact up to 2^53. The scripts format numbers with <c>%.0f</c>, because
/// <c>tostring</c> would write a large number as 1e+14.
/// </remarks>
static class Scripts
{
    /// <summary>
    /// The error code of <see cref="Publish"/> for a batch that arrives after a later batch of the same node. The node
    /// has already reported the late batch as failed.
    /// </summary>
    public const string Superseded = "SUPERSEDED";

    /// <summary>
    /// The first result of <see cref="Publish"/> if the group cannot retain a message of the batch. The script has then
    /// changed nothing.
    /// </summary>
    public const string Refused = "refused";

    /// <summary>
    /// Numbers a batch, appends the batch to the stream, trims the stream, retains the newest message of each key, and
    /// publishes the batch.
    /// </summary>
    /// <remarks>
    /// <para>
    /// KEYS: state, stream, index. If the message has an ID, the key of this ID follows. If the group retains messages,
    /// the last key contains the retained values.
    /// </para>
    /// <code>
    /// ARGV 1      the epoch of a new group
    ///      2      the channel
    ///      3      the node
    ///      4      the number of the batch
    ///      5      the number of messages, without transient messages
    ///      6      the number of bytes, without transient messages
    ///      7      the body for the stream, without transient messages
    ///      8-10   the messages, bytes and milliseconds of the repair window
    ///      11-13  the messages, bytes and milliseconds of the history
    ///      14     the milliseconds for which Redis keeps the stream; 0 means forever
    ///      15     the milliseconds for which Redis remembers the last batch of a node
    ///      16     the body for the channel, if the batch has transient messages; otherwise empty or missing
    ///      17     the milliseconds for which Redis remembers the message ID; empty or missing without an ID
    ///      18     the milliseconds for which Redis keeps the state and the retained values; 0 means forever;
    ///             missing if the group does not retain messages
    ///      19     the number of messages with a key
    ///      20-21  the maximum number and bytes of the retained values
    ///      22-    for each message with a key: the key, the first and last byte of the message in ARGV 7, and the
    ///             number of the message in the batch; the first byte is 0 for a message that removes its key
    /// </code>
    /// <para>
    /// Returns the epoch, the last offset and the tag of the batch. If Redis already knows the message ID, the script
    /// changes nothing. The script then returns the epoch and the offset of the first message with this ID, and no tag.
    /// If the group cannot retain some of the messages, the script changes nothing. The script then returns
    /// <see cref="Refused"/>, and two numbers for each of these messages. The first number identifies the message in
    /// the batch. The second number is the argument with the exceeded limit (20 or 21).
    /// </para>
    /// <para>
    /// Each <c>redis.call</c> takes about one microsecond. So the script makes as few calls as possible. The script
    /// renews the expirations at most once per second. The script trims only when the stream exceeds its limits by a
    /// sixteenth. The command "publishes" of benchmarks/Broadcast.Redis.Benchmarks measures the cost.
    /// </para>
    /// <para>
    /// The tag of a batch is a hash of the previous tag, the node and the number of the batch. So two batches have the
    /// same tag only if all batches before them are the same. Example: the nodes A, B and C publish one batch each, and
    /// a failover loses all three batches. The nodes send the batches again, and the new order is B, A, C. Suppose that
    /// a node has received A, B, C. Without the previous tag, this node could not notice the other order, because both
    /// orders end with C.
    /// </para>
    /// <para>
    /// Transient messages go only to the channel. If the batch has no other message, the group keeps its offset and its
    /// tag. On the channel, such a batch has the node and the number of the batch in the place of the tag. If Redis has
    /// no state of the group, no node subscribes to the group, so the script publishes nothing.
    /// </para>
    /// <para>Invariant: the script checks the type of each key before it writes anything.</para>
    /// </remarks>
    public const string Publish = """
        local state = redis.call('HMGET', KEYS[1], 'e', 'o', 'g', 'b', 'x', ARGV[3])
        local epoch, before, renewed, taken = state[1], state[3], state[5], state[6]
        if taken then
          local number, its, last, tag = string.match(taken, '^(%d+) (%x+) (%d+) %d+ ([%x-]+)$')
          if tonumber(number) == tonumber(ARGV[4]) then return {its, last, tag} end
          if tonumber(number) > tonumber(ARGV[4]) then return redis.error_reply('SUPERSEDED by a later batch') end
        end
        local once = ARGV[17] and ARGV[17] ~= '' and KEYS[4]
        if once then
          local known = redis.call('GET', once)
          if known then
            local its, last = string.match(known, '^(%x+) (%d+)$')
            return {its, last}
          end
        end
        local body = ARGV[7]
        if ARGV[16] and ARGV[16] ~= '' then body = ARGV[16] end
        local function removeOldNodes(now)
          if taken or redis.call('HLEN', KEYS[1]) <= 64 then return end
          -- A new node has published. Remove the fields of nodes that no longer publish.
          local fields = redis.call('HGETALL', KEYS[1])
          for i = 1, #fields, 2 do
            local since = string.match(fields[i + 1], '^%d+ %x+ %d+ (%d+) [%x-]+$')
            if since and now - since > tonumber(ARGV[15]) then redis.call('HDEL', KEYS[1], fields[i]) end
          end
        end
        if ARGV[5] == '0' then
          if not epoch then return {ARGV[1], '0', '-'} end
          local clock = redis.call('TIME')
          local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
          local at = string.format('%.0f', now)
          local result = ARGV[4] .. ' ' .. epoch .. ' ' .. state[2] .. ' ' .. at .. ' ' .. before
          redis.call('HSET', KEYS[1], ARGV[3], result)
          removeOldNodes(now)
          local header = epoch .. ' ' .. state[2] .. ' 0 ' .. before .. ' ' .. ARGV[3] .. '-' .. ARGV[4]
          redis.call('PUBLISH', ARGV[2], header .. '\n' .. body)
          return {epoch, state[2], before}
        end
        -- Check the limits of the retained values before the first write. The size of a missing message is 0.
        local retained, retainedBytes, sizes, newest = ARGV[18] and KEYS[#KEYS], 0, {}, {}
        local operations, isNewHash = tonumber(ARGV[19] or 0), false
        local lastOperation = 21 + 4 * operations
        if operations > 0 then
          local keys = {''}
          for i = 22, lastOperation, 4 do table.insert(keys, ARGV[i]) end
          local known = redis.call('HMGET', retained, unpack(keys))
          local its, total = string.match(known[1] or '', '^(%x+) (%d+)$')
          isNewHash = not epoch or its ~= epoch
          local count, refused = 0, {}
          if not isNewHash then count, retainedBytes = redis.call('HLEN', retained) - 1, tonumber(total) end
          for i = 22, lastOperation, 4 do
            local key, first, before, size = ARGV[i], tonumber(ARGV[i + 1]), sizes[ARGV[i]], 0
            if not before then
              local value = not isNewHash and known[(i - 22) / 4 + 2]
              before = value and #key + #value - #string.match(value, '^%d+ ') + 32 or 0
            end
            if first > 0 then size = #key + ARGV[i + 2] - first + 1 + 32 end
            local change = (size > 0 and 1 or 0) - (before > 0 and 1 or 0)
            local limit = size > 0 and (count + change > tonumber(ARGV[20]) and '20'
              or retainedBytes - before + size > tonumber(ARGV[21]) and '21')
            if limit then
              table.insert(refused, ARGV[i + 3])
              table.insert(refused, limit)
              sizes[key] = before
            else
              count, retainedBytes = count + change, retainedBytes - before + size
              sizes[key], newest[key] = size, i
            end
          end
          if #refused > 0 then return {'refused', unpack(refused)} end
        end
        local oldest
        if epoch then
          oldest = redis.call('LINDEX', KEYS[3], 0)
        else
          epoch, before, renewed = ARGV[1], '-', false
          -- Redis checks its memory limit before the first write of a script, but not before DEL. So write first.
          redis.call('HSET', KEYS[1], 'e', epoch)
          redis.call('DEL', KEYS[2], KEYS[3])
        end
        local offset, bytes = (tonumber(state[2]) or 0) + ARGV[5], (tonumber(state[4]) or 0) + ARGV[6]
        local last, sum = string.format('%.0f', offset), string.format('%.0f', bytes)
        local clock = redis.call('TIME')
        local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
        local at = string.format('%.0f', now)
        local tag = string.sub(redis.sha1hex(before .. ' ' .. ARGV[3] .. ' ' .. ARGV[4]), 1, 16)
        -- Other scripts expect the first four fields at these positions.
        redis.call('XADD', KEYS[2], last .. '-0', 'c', ARGV[5], 't', at, 'g', tag, 'b', ARGV[7], 'p', before)
        redis.call('RPUSH', KEYS[3], last .. ' ' .. sum .. ' ' .. at)

        local keep, renewal = string.match(renewed or '', '^(%d+) (%d+)$')
        local expires = keep ~= ARGV[14] or now - renewal > 1000 or not oldest
        if expires then renewed = ARGV[14] .. ' ' .. at end
        local result = ARGV[4] .. ' ' .. epoch .. ' ' .. last .. ' ' .. at .. ' ' .. tag
        redis.call('HSET', KEYS[1], 'e', epoch, 'o', last, 'g', tag, 'b', sum, 'x', renewed, ARGV[3], result)
        if operations > 0 then
          if isNewHash then redis.call('DEL', retained) end
          local set, removed = {'', epoch .. ' ' .. string.format('%.0f', retainedBytes)}, {}
          for i = 22, lastOperation, 4 do
            if newest[ARGV[i]] ~= i then
              -- A later message of the batch has the same key.
            elseif ARGV[i + 1] == '0' then
              table.insert(removed, ARGV[i])
            else
              local its = string.format('%.0f', offset - ARGV[5] + ARGV[i + 3])
              table.insert(set, ARGV[i])
              table.insert(set, its .. ' ' .. string.sub(ARGV[7], ARGV[i + 1], ARGV[i + 2]))
            end
          end
          redis.call('HSET', retained, unpack(set))
          if #removed > 0 then redis.call('HDEL', retained, unpack(removed)) end
        end
        local function expire(key, milliseconds, extra)
          if milliseconds == 0 then redis.call('PERSIST', key)
          else redis.call('PEXPIRE', key, milliseconds + extra) end
        end
        if expires or isNewHash then
          local short = tonumber(ARGV[14])
          local long = tonumber(ARGV[18] or short)
          expire(KEYS[1], short == 0 and 0 or long, 61000)
          expire(KEYS[2], short, 1000)
          expire(KEYS[3], short, 1000)
          if retained then expire(retained, long, 1000) end
        end

        local function isKept(entry, times)
          local o, b, t = string.match(entry, '^(%d+) (%d+) (%d+)$')
          local newer, size, age = offset - o, bytes - b, now - t
          for i = 8, 11, 3 do
            local isRecent = newer < ARGV[i] * times and size < ARGV[i + 1] * times and age <= ARGV[i + 2] * times
            if isRecent then return true end
          end
          return newer == 0
        end
        if oldest and not isKept(oldest, 17 / 16) then
          -- Trim at most 256 batches, because Redis executes no other command during the script.
          local entries, old = redis.call('LRANGE', KEYS[3], 0, 255), 0
          while entries[old + 1] and not isKept(entries[old + 1], 1) do old = old + 1 end
          redis.call('LTRIM', KEYS[3], old, -1)
          local oldestKept = string.format('%.0f', string.match(entries[old], '^%d+') + 1)
          redis.call('XTRIM', KEYS[2], 'MINID', '=', oldestKept .. '-0')
        end

        removeOldNodes(now)
        if once then redis.call('SET', once, epoch .. ' ' .. last, 'PX', ARGV[17]) end
        local header = epoch .. ' ' .. last .. ' ' .. ARGV[5] .. ' ' .. before .. ' ' .. tag
        redis.call('PUBLISH', ARGV[2], header .. '\n' .. body)
        return {epoch, last, tag}
        """;

    /// <summary>A function that reads the newest batches of a group, within limits.</summary>
    /// <remarks>
    /// The function reads one batch at a time. So Redis loads at most one batch beyond the limits, even from a large
    /// stream.
    /// </remarks>
    const string ReadPage = """
        local function readPage(last, messages, bytes, age)
          local clock = redis.call('TIME')
          local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
          local batches, count, size, isEnd = {}, 0, 0, 0
          while #batches < 64 and size < 4194304 do
            if count >= messages or size >= bytes then isEnd = 1 break end
            local batch = redis.call('XREVRANGE', KEYS[2], last, '-', 'COUNT', 1)[1]
            if not batch or now - batch[2][4] > age then isEnd = 1 break end
            table.insert(batches, batch)
            count, size = count + batch[2][2], size + #batch[2][8] + 28 * batch[2][2]
            last = string.format('%.0f', string.match(batch[1], '^%d+') - 1) .. '-0'
          end
          return {string.format('%.0f', now), batches, isEnd}
        end

        """;

    /// <summary>
    /// Returns the current position of a group and its newest batches. Creates the group if necessary.
    /// </summary>
    /// <remarks>
    /// <para>KEYS: state, stream, index, and the retained values, if the group retains messages.</para>
    /// <code>
    /// ARGV 1    the epoch of a new group
    ///      2    the milliseconds for which Redis keeps the group and the retained values; 0 means forever
    ///      3    the milliseconds for which Redis keeps the group if it has no messages
    ///      4-6  the messages, bytes and milliseconds of the history
    /// </code>
    /// <para>
    /// Returns the epoch, the last offset, the last tag, a page in the format of <see cref="ReadBackward"/>, and the
    /// fields and values of <see cref="GroupKeys.Retained"/>.
    /// </para>
    /// </remarks>
    public const string Subscribe = ReadPage + """
        if redis.call('HSETNX', KEYS[1], 'e', ARGV[1]) == 1 then
          redis.call('DEL', KEYS[2], KEYS[3])
          redis.call('HSET', KEYS[1], 'o', 0, 'g', '-', 'b', 0)
        end
        local state = redis.call('HMGET', KEYS[1], 'e', 'o', 'g')
        -- Clients can subscribe to any number of groups. So a group without messages must expire.
        local keep = ARGV[2]
        if state[2] == '0' then keep = ARGV[3] end
        if keep == '0' then redis.call('PERSIST', KEYS[1]) else redis.call('PEXPIRE', KEYS[1], keep + 60000) end
        local retained = {}
        if KEYS[4] and string.match(redis.call('HGET', KEYS[4], '') or '', '^%x+') == state[1] then
          retained = redis.call('HGETALL', KEYS[4])
          if keep == '0' then redis.call('PERSIST', KEYS[4]) else redis.call('PEXPIRE', KEYS[4], keep) end
        end
        local page = readPage('+', tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]))
        return {state[1], state[2], state[3], page, retained}
        """;

    /// <summary>Renews the expiration of a group that has subscribers, but no messages.</summary>
    /// <remarks>
    /// <para>KEYS: state.</para>
    /// <para>ARGV: the milliseconds for which Redis keeps the group.</para>
    /// <para>The check and the renewal need one atomic step, because a message with an unlimited history age may arrive
    /// between these two operations.</para>
    /// </remarks>
    public const string RenewEmptyGroup = """
        if redis.call('HGET', KEYS[1], 'o') == '0' then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
        """;

    /// <summary>Returns the batches up to an offset, newest first.</summary>
    /// <remarks>
    /// <para>KEYS: state, stream.</para>
    /// <code>
    /// ARGV 1    the epoch
    ///      2    the offset
    ///      3-5  the messages, bytes and milliseconds that the caller needs
    /// </code>
    /// <para>
    /// Returns the time of Redis, the batches, and 1 if the caller needs no older batch. Returns nothing if the group
    /// has another epoch.
    /// </para>
    /// </remarks>
    public const string ReadBackward = ReadPage + """
        if redis.call('HGET', KEYS[1], 'e') ~= ARGV[1] then return false end
        return readPage(ARGV[2] .. '-0', tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]))
        """;

    /// <summary>Returns the batches that follow the last batch that a node has delivered.</summary>
    /// <remarks>
    /// <para>KEYS: state, stream, index, retained values.</para>
    /// <code>
    /// ARGV 1  the epoch
    ///      2  the last offset of the node
    ///      3  the tag of the batch at that offset
    ///      4  the number of batches
    ///      5  a new epoch, larger than the epoch of the node
    /// </code>
    /// <para>
    /// Returns the last offset and the batches, beginning with the batch at the node's offset. If the stream begins
    /// with the next batch, the result begins with the next batch. Returns nothing if the node cannot continue.
    /// </para>
    /// <para>
    /// The stream of a quiet group expires, and one large message can remove all earlier batches. Then the batch at the
    /// node's offset is missing, although the node may need only later batches. Each batch has the tag of its previous
    /// batch, so the script can still check the history of the node.
    /// </para>
    /// <para>
    /// Redis can return to an older state, for example after it restores an old snapshot or promotes an incomplete
    /// replica. Example: a node has received the messages 1 to 10, and Redis restarts with 1 to 5. The next messages
    /// get the offsets 6 to 10 again. The script detects the older state by five signs. First, the epoch of the group
    /// is smaller than the epoch of the node. Second, the last offset of the group is smaller than the offset of the
    /// node. Third, the batch at the node's offset has another tag. Fourth, no batch ends at the node's offset. Fifth,
    /// the oldest batch follows the node's offset, but the batch stores another previous tag. After one of these signs,
    /// the script starts a new epoch, so that all nodes notice the loss.
    /// </para>
    /// <para>
    /// The new epoch keeps the retained values, because each value is still the newest message of its key. The offsets
    /// of these values must stay below the offsets of new messages. So if the group has retained values, the new epoch
    /// continues with the offset of the older state. Before the first batch of an epoch, the tag of the group is "-".
    /// </para>
    /// </remarks>
    public const string ReadForward = """
        local state = redis.call('HMGET', KEYS[1], 'e', 'o', 'g')
        local function startEpoch()
          local its, bytes = string.match(redis.call('HGET', KEYS[4], '') or '', '^(%x+) (%d+)$')
          -- Delete first, so that a node can report a loss even if Redis has reached its memory limit.
          redis.call('DEL', KEYS[2], KEYS[3])
          local offset = 0
          if its == state[1] then
            offset = state[2]
            redis.call('HSET', KEYS[4], '', ARGV[5] .. ' ' .. bytes)
          end
          redis.call('HSET', KEYS[1], 'e', ARGV[5], 'o', offset, 'g', '-', 'b', 0)
          return false
        end
        if not state[1] or state[1] > ARGV[1] then return false end
        if state[1] < ARGV[1] then return startEpoch() end
        local function get(batch, name)
          for i = 1, #batch[2], 2 do
            if batch[2][i] == name then return batch[2][i + 1] end
          end
        end
        local last, at = tonumber(state[2]), tonumber(ARGV[2])
        local same = last >= at
        local batches = {}
        if last == at then
          same = state[3] == ARGV[3]
        elseif same and ARGV[3] == '-' then
          batches = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', ARGV[4])
        elseif same then
          local id = ARGV[2] .. '-0'
          batches = redis.call('XRANGE', KEYS[2], id, '+', 'COUNT', ARGV[4])
          if batches[1] and batches[1][1] == id then
            same = get(batches[1], 'g') == ARGV[3]
          else
            -- Either Redis no longer has the batch, or no batch ends at the node's offset.
            local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
            local start = oldest and string.match(oldest[1], '^%d+') - oldest[2][2]
            if not oldest or start > at then return false end
            -- Older versions of this package store no previous tag.
            local previous = get(oldest, 'p')
            if start == at and not previous then return false end
            same = start == at and previous == ARGV[3]
          end
        end
        if not same then return startEpoch() end
        return {state[2], batches}
        """;

    /// <summary>Writes changed members of a group on one node.</summary>
    /// <remarks>
    /// <para>
    /// KEYS: the members of the node, the nodes of the group, and the members under the earlier name if ARGV 5 is not
    /// empty.
    /// </para>
    /// <code>
    /// ARGV 1  the node
    ///      2  the milliseconds for which Redis keeps the keys
    ///      3  1 to delete the previous members first, otherwise 0
    ///      4  the number of members that Redis must have after the write, or -1
    ///      5  an earlier name of the node, or empty
    ///      6  the number of members to set
    ///      then the name and value of each member to set, and the names of the members to remove
    /// </code>
    /// <para>Returns 0 if Redis has another number of members than ARGV 4, otherwise 1.</para>
    /// <para>
    /// Redis checks its memory limit only before the first write of a script, and allows a DEL above the limit. So the
    /// script sets the members before the DEL. Otherwise, Redis would exceed its memory limit.
    /// </para>
    /// </remarks>
    public const string WriteMembers = """
        local set = tonumber(ARGV[6])
        local function setMembers()
          if set > 0 then redis.call('HSET', KEYS[1], unpack(ARGV, 7, 6 + 2 * set)) end
        end
        setMembers()
        if ARGV[3] == '1' then
          redis.call('DEL', KEYS[1])
          setMembers()
        end
        if #ARGV > 6 + 2 * set then redis.call('HDEL', KEYS[1], unpack(ARGV, 7 + 2 * set)) end
        if ARGV[5] ~= '' then
          redis.call('DEL', KEYS[3])
          redis.call('SREM', KEYS[2], ARGV[5])
        end
        if redis.call('PEXPIRE', KEYS[1], ARGV[2]) == 1 then
          redis.call('SADD', KEYS[2], ARGV[1])
          redis.call('PEXPIRE', KEYS[2], ARGV[2])
        else
          redis.call('SREM', KEYS[2], ARGV[1])
        end
        if ARGV[4] ~= '-1' and redis.call('HLEN', KEYS[1]) ~= tonumber(ARGV[4]) then return 0 end
        return 1
        """;

    /// <summary>Deletes the members of a dead node.</summary>
    /// <remarks>
    /// <para>KEYS: the members of the node, the nodes of the group.</para>
    /// <para>ARGV: the node.</para>
    /// </remarks>
    public const string DeleteNode = """
        redis.call('DEL', KEYS[1])
        redis.call('SREM', KEYS[2], ARGV[1])
        """;

    /// <summary>
    /// Runs each command that the other scripts use, and publishes a message. The script deletes its keys. If a command
    /// fails, the error of the script names the first failed command, because the error of Redis 7 does not name the
    /// command.
    /// </summary>
    /// <remarks>
    /// <para>KEYS: state, stream, index, the nodes of the group, the key of a message ID.</para>
    /// <para>ARGV: the channel.</para>
    /// </remarks>
    public const string CheckCommands = """
        local refused
        local function run(command, ...)
          local result = redis.pcall(command, ...)
          if type(result) == 'table' and result.err then
            refused = refused or 'ERR The command ' .. command .. ' failed: ' .. result.err
          end
        end
        run('HSETNX', KEYS[1], 'f', '1')
        run('HSET', KEYS[1], 'f', '1')
        run('HGET', KEYS[1], 'f')
        run('HMGET', KEYS[1], 'f')
        run('HGETALL', KEYS[1])
        run('HLEN', KEYS[1])
        run('HDEL', KEYS[1], 'f')
        run('XADD', KEYS[2], '1-0', 'b', '1')
        run('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)
        run('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)
        run('XTRIM', KEYS[2], 'MINID', '=', '1-0')
        run('RPUSH', KEYS[3], '1')
        run('LINDEX', KEYS[3], 0)
        run('LRANGE', KEYS[3], 0, 0)
        run('LTRIM', KEYS[3], 0, 0)
        run('SADD', KEYS[4], '1')
        run('SREM', KEYS[4], '1')
        run('SET', KEYS[5], '1', 'PX', 1000)
        run('GET', KEYS[5])
        run('PERSIST', KEYS[2])
        run('PEXPIRE', KEYS[2], 1000)
        run('TIME')
        run('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5])
        run('PUBLISH', ARGV[1], '1')
        if refused then return redis.error_reply(refused) end
        """;

    /// <summary>Reserves a message ID, unless a message with this ID has been published.</summary>
    /// <remarks>
    /// <para>KEYS: the message ID, the reservation.</para>
    /// <code>
    /// ARGV 1  the value
    ///      2  the milliseconds for which Redis keeps the value
    /// </code>
    /// <para>Returns the value of the first reservation, or nothing if Redis already knows the message ID.</para>
    /// </remarks>
    public const string Reserve = """
        if redis.call('GET', KEYS[1]) then return false end
        local value = redis.call('GET', KEYS[2])
        if value then return value end
        redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
        return ARGV[1]
        """;

    /// <summary>The maximum age for a history without an age limit. No message reaches this age.</summary>
    const string UnlimitedMilliseconds = "1000000000000000";

    /// <summary>Formats the maximum age of a history as an argument in milliseconds.</summary>
    public static string FormatAge(TimeSpan age) =>
        age == Timeout.InfiniteTimeSpan ? UnlimitedMilliseconds : FormatMilliseconds(age);

    /// <summary>Formats a duration as an argument in milliseconds. Null becomes 0, which means forever.</summary>
    public static string FormatMilliseconds(TimeSpan? duration) =>
        ((long)(duration?.TotalMilliseconds ?? 0)).ToString(CultureInfo.InvariantCulture);
}
