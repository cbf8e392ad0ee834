using Broadcast.Middleware.Contracts;
using Broadcast.Middleware.Redis.Publishing;

namespace Broadcast.Middleware.Redis.Tests.Infrastructure;

/// <summary>A started backplane, with a receiver that records the delivered messages.</summary>
sealed class TestNode
{
    /// <summary>The maximum time that a test waits for a condition.</summary>
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    readonly Listener _listener;

    public TestNode(IBackplane backplane)
    {
        _listener = new(backplane, Patience);
        backplane.Start(_listener);
    }

    public IBackplane Backplane => _listener.Backplane;

    public Outbox Outbox => ((RedisBackplane)Backplane).Outbox;

    /// <summary>The name of the node in the keys of its members. Null while the node has no heartbeat.</summary>
    public string? NodeName => ((RedisBackplane)Backplane).Heartbeat.NodeName;

    /// <summary>Completes after the checks that follow the first connect.</summary>
    public Task StartupChecks => ((RedisBackplane)Backplane).StartupChecks;

    public Task<Position> PublishAsync(string group, string text, GroupOptions? history = null, RetainedKey? key = null) =>
        _listener.PublishAsync(group, text, history, key).AsTask();

    public Task<(Position Position, bool IsDuplicate)> PublishOnceAsync(
        string group, string id, string text, TimeSpan? window = null) =>
        _listener.PublishOnceAsync(group, id, text, window).AsTask();

    public Task PublishTransientAsync(string group, string text) => _listener.PublishTransientAsync(group, text).AsTask();

    /// <summary>Publishes until Redis accepts the message. A new node may not be connected yet.</summary>
    public async Task<Position> PublishUntilAcceptedAsync(string group, string text)
    {
        Position position = default;
        await EventuallyAsync(
            async () => await TryAsync(async () => position = await PublishAsync(group, text)),
            "Redis accepts the message.");
        return position;
    }

    public Task<BackplaneSubscription> SubscribeAsync(string group, GroupOptions? history = null) =>
        _listener.SubscribeAsync(group, history).AsTask();

    public void Unsubscribe(string group) => _listener.Unsubscribe(group);

    /// <summary>Forgets the received messages and losses of a group.</summary>
    public void Clear(string group) => _listener.Begin(group);

    public (Position Position, string Text)[] GetReceived(string group) => _listener.Heard(group);

    public string[] GetReceivedTexts(string group) => [.. GetReceived(group).Select(received => received.Text)];

    public (Position After, int Earlier, string Text)[] GetReceivedTransient(string group) => _listener.HeardTransient(group);

    public int GetLossCount(string group) => _listener.Losses(group);

    /// <summary>Waits until the node has received exactly this number of messages.</summary>
    public Task WaitForMessagesAsync(string group, int count) => _listener.HeardAsync(group, count);

    public Task WaitForLossAsync(string group) =>
        EventuallyAsync(() => new(GetLossCount(group) == 1), "The node reports one loss.");

    public static Task EventuallyAsync(
        Func<ValueTask<bool>> condition, string description, TimeSpan? timeout = null) =>
        Listener.EventuallyAsync(condition, timeout ?? Patience, description);

    /// <summary>
    /// Repeats an operation until its error contains a text. The first errors can have another cause, because the node may
    /// still be connecting. Each attempt must fail.
    /// </summary>
    public static Task WaitForErrorAsync(
        Func<Task> operation, string text, Action<BackplaneException>? check = null, TimeSpan? timeout = null) => EventuallyAsync(
        async () =>
        {
            var error = await Assert.ThrowsAsync<BackplaneException>(operation);
            TestContext.Current.TestOutputHelper?.WriteLine(error.ToString());
            check?.Invoke(error);
            return error.Message.Contains(text, StringComparison.Ordinal);
        },
        $"The error contains '{text}'.",
        timeout);

    /// <summary>Returns false if the operation fails with an error of the backplane or of Redis.</summary>
    public static async Task<bool> TryAsync(Func<Task> operation)
    {
        try
        {
            await operation();
            return true;
        }
        catch (Exception exception) when (exception is BackplaneException or StackExchange.Redis.RedisServerException)
        {
            return false;
        }
    }
}
