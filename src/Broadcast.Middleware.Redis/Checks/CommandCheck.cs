using System.Security.Cryptography;
using Broadcast.Middleware.Redis.Connections;
using Broadcast.Middleware.Redis.Storage;
using Broadcast.Middleware.Redis.Subscriptions;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Checks;

/// <summary>
/// Runs each command that the backplane needs, and receives a message through a channel. So the check also fails if a
/// proxy does not support publish/subscribe, if an ACL denies a command, or if the server has no streams.
/// </summary>
/// <remarks>The check uses separate keys and deletes these keys at the end.</remarks>
sealed class CommandCheck(RedisConnection connection)
{
    static readonly TimeSpan KeyLifetime = TimeSpan.FromSeconds(30);
    static readonly RedisValue[] Fields = ["f"];

    /// <summary>Runs the check once. If the check fails, the exception states the problem and the fix.</summary>
    /// <exception cref="BackplaneException">Redis refuses a command, or does not answer.</exception>
    public async Task RunAsync(TimeSpan timeout, CancellationToken cancellationToken)
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
            await RunAsync(database => database.ScriptEvaluateAsync(
                Scripts.CheckCommands, [keys.State, keys.Stream, keys.Index, keys.Nodes], [keys.FullChannel]));
            await WaitForMessageAsync();
            var heartbeat = keySpace.Heartbeat($"check-{name}");
            await RunAsync(database => database.StringSetAsync(heartbeat, "", KeyLifetime));
            await RunAsync(database => database.KeyExpireAsync(heartbeat, KeyLifetime));
            await RunAsync(database => database.KeyExistsAsync(heartbeat));
            await RunAsync(database => database.KeyDeleteAsync(heartbeat));
            await RunAsync(database => database.SetMembersAsync(keys.Nodes));
            await RunAsync(database => database.HashGetAllAsync(keys.State));
            await RunAsync(database => database.HashGetAsync(keys.State, Fields));
            await RunAsync(database => database.HashLengthAsync(keys.State));
        }
        finally
        {
            listener.Close();
        }

        Task<T> RunAsync<T>(Func<IDatabase, Task<T>> command) => connection.ExecuteAsync(
            multiplexer => command(multiplexer.GetDatabase()), deadline, retries: false,
            cancellationToken: cancellationToken);

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
                    "Redis accepted a message, but its channel did not deliver the message in time. " +
                    "Check the load of Redis. If a proxy is between this node and Redis, it must support SUBSCRIBE.",
                    exception);
            }
        }
    }
}
