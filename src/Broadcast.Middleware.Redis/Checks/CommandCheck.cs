using System.Security.Cryptography;
using Broadcast.Middleware.Redis.Connections;
using Broadcast.Middleware.Redis.Storage;
using Broadcast.Middleware.Redis.Subscriptions;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Checks;

/// <summary>
/// Runs each command that the backplane needs, and receives a message through a channel. So the check fails if a proxy
/// does not support publish/subscribe, an ACL denies a command, or the server has no streams.
/// </summary>
/// <remarks>The check uses separate keys and deletes these keys at the end.</remarks>
sealed class CommandCheck(RedisConnection connection)
{
    static readonly TimeSpan KeyLifetime = TimeSpan.FromSeconds(30);
    static readonly RedisValue[] Fields = ["f"];

    /// <summary>
    /// Runs the check once, and returns the time of one round trip. If the check fails, the exception states the
    /// problem and the fix.
    /// </summary>
    /// <exception cref="BackplaneException">Redis refuses a command, or does not answer.</exception>
    public async Task<TimeSpan> RunAsync(TimeSpan timeout, CancellationToken cancellationToken)
    {
        var deadline = connection.GetDeadline(timeout);
        var keySpace = await connection.GetKeySpaceAsync(deadline, cancellationToken);
        var name = RandomNumberGenerator.GetHexString(16, lowercase: true);
        // An app cannot use this group, because the name starts with a control character.
        var keys = keySpace.ForGroup($"\u0001check:{name}");
        var received = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var listener = new ChannelListener(connection, _ => received.TrySetResult());
        try
        {
            await listener.OpenAsync(keys.Channel, deadline, cancellationToken, retries: false);
            await connection.RunScriptAsync(
                Scripts.CheckCommands,
                [keys.State, keys.Stream, keys.Index, keys.Nodes, keys.MessageId("id")], [keys.FullChannel], deadline,
                retries: false, cancellationToken: cancellationToken);
            await WaitForMessageAsync();
            var heartbeat = keySpace.Heartbeat($"check-{name}");
            return await connection.ExecuteAsync(
                multiplexer => RunPlainCommandsAsync(multiplexer.GetDatabase(), keys, heartbeat), deadline,
                retries: false, cancellationToken: cancellationToken);
        }
        finally
        {
            listener.Close();
        }

        async Task WaitForMessageAsync()
        {
            try
            {
                await connection.ExecuteAsync(
                    async _ =>
                    {
                        await received.Task;
                        return true;
                    },
                    deadline, retries: false, cancellationToken: cancellationToken);
            }
            catch (BackplaneException exception) when (exception.InnerException is TimeoutException)
            {
                throw new BackplaneException(
                    "Redis accepted a message, but did not deliver the message through the channel in time. Check " +
                    "the load of Redis. If this node connects through a proxy, the proxy must support SUBSCRIBE.",
                    exception);
            }
        }
    }

    /// <summary>
    /// Runs the commands that the backplane uses outside scripts. All commands start before the first wait, so all
    /// commands together need one round trip.
    /// </summary>
    static async Task<TimeSpan> RunPlainCommandsAsync(IDatabase database, GroupKeys keys, RedisKey heartbeat)
    {
        const CommandFlags FromMaster = CommandFlags.DemandMaster;
        var ping = database.PingAsync(FromMaster);
        await Task.WhenAll(
            ping,
            database.StringSetAsync(heartbeat, "", KeyLifetime),
            database.KeyExpireAsync(heartbeat, KeyLifetime),
            database.KeyExistsAsync(heartbeat, FromMaster),
            database.SetMembersAsync(keys.Nodes, FromMaster),
            database.HashGetAllAsync(keys.State, FromMaster),
            database.HashGetAsync(keys.State, Fields, FromMaster),
            database.HashLengthAsync(keys.State, FromMaster),
            database.KeyDeleteAsync(heartbeat));
        return await ping;
    }
}
