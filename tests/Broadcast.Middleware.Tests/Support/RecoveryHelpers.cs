
namespace Broadcast.Middleware.Tests.Support;

/// <summary>Helpers for tests of the recovery and of group histories.</summary>
static class RecoveryHelpers
{
    public static Action<BroadcastOptions> History(
        string pattern, int messages = 1_000, int bytes = 1 << 20, TimeSpan? age = null, int replayOnJoin = 0, int? maxEmptyGroups = null) => options =>
    {
        options.Groups[pattern] = new()
        {
            HistoryMessages = messages, HistoryBytes = bytes, HistoryAge = age ?? Timeout.InfiniteTimeSpan, ReplayOnJoin = replayOnJoin,
        };
        options.MaxEmptyGroups = maxEmptyGroups ?? options.MaxEmptyGroups;
        // The tests advance the clock by minutes. Only the history may react to this time.
        (options.KeepAliveInterval, options.SendTimeout) = (Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    };

    public static PublishResult Publish(this TestEngine broadcast, Recipients recipients, int id, int size = 4) =>
        broadcast.Publish(new(Payload.Make(id, size), MessageType.Binary), recipients);

    public static PublishResult Publish(this TestEngine broadcast, string group, int id, int size = 4) => broadcast.Publish(Recipients.Group(group), id, size);

    /// <summary>The size of a retained value: see <see cref="GroupOptions.MaxRetainedBytes"/>.</summary>
    public static int RetainedCost(int size, string key, MessageTags? tags, IEnumerable<string> excluded) =>
        Frame.Size(size) + key.Length + 32
        + (tags?.Sum(tag => (2 * (tag.Key.Length + tag.Value.Length)) + 32) ?? 0) + excluded.Sum(id => (2 * id.Length) + 32);

    public static IEnumerable<int> Range(int from, int to) => Enumerable.Range(from, Math.Max(0, to - from + 1));
}
