using Broadcast.Middleware.Tests.Properties;

namespace Broadcast.Middleware.Tests.Recovery;

/// <summary>Helpers that many tests of this folder use.</summary>
static class Act
{
    public static Action<BroadcastOptions> History(
        string pattern, int messages = 1_000, int bytes = 1 << 20, TimeSpan? age = null, int replayOnJoin = 0, int? withoutMembers = null) => options =>
    {
        options.Groups[pattern] = new()
        {
            HistoryMessages = messages, HistoryBytes = bytes, HistoryAge = age ?? Timeout.InfiniteTimeSpan, ReplayOnJoin = replayOnJoin,
        };
        options.MaxGroupsWithoutMembers = withoutMembers ?? options.MaxGroupsWithoutMembers;
        // The tests advance the clock by minutes. Only the history may react to that.
        (options.KeepAliveInterval, options.SendTimeout) = (Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    };

    public static PublishResult Publish(this Stage stage, Recipients recipients, int id, int size = 4) =>
        stage.Broadcaster.Publish(new(Payload.Make(id, size), MessageType.Binary), recipients);

    public static PublishResult Publish(this Stage stage, string group, int id, int size = 4) => stage.Publish(Recipients.Group(group), id, size);

    public static IEnumerable<int> Range(int from, int to) => Enumerable.Range(from, Math.Max(0, to - from + 1));
}
