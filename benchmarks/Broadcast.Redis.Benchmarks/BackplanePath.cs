using Broadcast.Middleware;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Redis.Benchmarks;

/// <summary>
/// Sends messages through the backplane of this library, without connections of clients. The backplane numbers and
/// stores messages, and delivers them in order without gaps.
/// </summary>
sealed class BackplanePath : MessagePath, IBackplaneReceiver
{
    readonly ServiceProvider _from;
    readonly ServiceProvider _to;
    readonly IBackplane _publisher;

    BackplanePath(string redis, int groups) : base("ours: IBackplane.PublishAsync to OnMessage", groups)
    {
        (_from, _to) = (Node(redis), Node(redis));
        _publisher = _from.GetRequiredService<IBackplane>();
    }

    public static async Task<MessagePath> CreateAsync(string redis, int groups)
    {
        var path = new BackplanePath(redis, groups);
        path._publisher.Start(path);
        var subscriber = path._to.GetRequiredService<IBackplane>();
        subscriber.Start(path);
        for (var i = 0; i < groups; i++) await subscriber.SubscribeAsync(NameOf(i), null);
        await path.ProbeAsync();
        return path;
    }

    public override async ValueTask PublishAsync(int group, long stamp) => await _publisher.PublishAsync(NameOf(group), Payload.Bytes(stamp, group), null);

    public void OnMessage(string group, Position position, ReadOnlyMemory<byte> message)
    {
        var (stamp, number) = Payload.Read(message.Span);
        Receive(number, stamp);
    }

    public void OnTransientMessage(string group, Position after, ReadOnlyMemory<byte> message) =>
        throw new InvalidOperationException("The benchmark publishes no transient messages.");

    public void OnLost(string group)
    {
        Console.Error.WriteLine("A node has lost messages. The result is not valid.");
        Environment.Exit(1);
    }

    public override async ValueTask DisposeAsync()
    {
        await _from.DisposeAsync();
        await _to.DisposeAsync();
    }

    static ServiceProvider Node(string redis) =>
        new ServiceCollection().AddLogging().AddBroadcast().AddRedis(redis, static options => options.Prefix = "seam").Services.BuildServiceProvider();

    static string NameOf(int group) => $"/rooms/{group}";
}
