using Broadcast.Middleware.Redis.Tests.Infrastructure;

namespace Broadcast.Middleware.Redis.Tests.Faults;

/// <summary>
/// Tests delivery during faults of Redis. Each test causes one fault, and the last test causes several faults.
/// </summary>
public sealed class FaultTests : FaultTest
{
    /// <summary>A time that is longer than PublishTimeout and NodeTimeout.</summary>
    static readonly TimeSpan LongSuspension = TimeSpan.FromSeconds(30);

    [Fact]
    public async Task RedisKill_WithPersistence_LosesNoMessage()
    {
        await StartAsync(await RedisServer.StartNewAsync(PersistentArguments));
        await PublishDuringFaultAsync("kill", MessagesPerPublisher, KillAndRestartAsync, Notified.None);
        await FinishAsync();
    }

    [Fact]
    public async Task RedisRestart_WithoutData_NotifiesAllClientsAndStartsNewEpoch()
    {
        await StartAsync(await RedisServer.StartNewAsync(PersistentArguments));
        await PublishDuringFaultAsync("restart empty", MessagesPerPublisher, RestartEmptyAsync, Notified.All);
        await FinishAsync();
    }

    [Fact]
    public async Task RedisFlush_WhilePublishing_NotifiesAllClientsAndStartsNewEpoch()
    {
        await StartAsync(await RedisServer.StartNewAsync());
        await using var connection = await Redis.ConnectAsync();
        await PublishDuringFaultAsync(
            "flush", MessagesPerPublisher, () => connection.GetServers()[0].FlushAllDatabasesAsync(), Notified.All);
        await FinishAsync();
    }

    [Fact]
    public async Task RedisSuspension_For30Seconds_LosesNoMessage()
    {
        await StartAsync(await RedisServer.StartNewAsync());
        await PublishDuringFaultAsync(
            "suspend", MessagesPerPublisher, () => SuspendAsync(LongSuspension), Notified.None);
        await FinishAsync();
    }

    [Fact]
    public async Task NodeDisconnect_WithinRepairWindow_LosesNoMessage()
    {
        await StartAsync(await RedisServer.StartNewAsync());
        await PublishDuringFaultAsync(
            "disconnect", MessagesPerPublisher, DisconnectFirstNodeAsync, Notified.None);
        await FinishAsync();
    }

    [Fact]
    public async Task NodeDisconnect_BeyondRepairWindow_NotifiesOnlyClientsOfThatNode()
    {
        await StartAsync(static options => options.RepairMessages = 1, await RedisServer.StartNewAsync());
        await PublishDuringFaultAsync(
            "long disconnect", MessagesPerPublisher * 2, DisconnectFirstNodeAsync, Notified.FirstNode);
        await FinishAsync();
    }

    [Fact]
    public async Task RedisFailover_WhilePublishing_DeliversAllMessagesOrNotifiesAllClients()
    {
        var master = await RedisServer.StartNewAsync();
        await StartAsync(master, await StartReplicaAsync(master.Port));
        await PublishDuringFaultAsync("failover", MessagesPerPublisher, FailOverAsync, Notified.AllOrNone);
        await FinishAsync();
    }

    [Fact]
    public async Task RedisFailover_ToOutdatedReplica_NotifiesAllClients()
    {
        var master = await RedisServer.StartNewAsync();
        await using var replicationProxy = new RedisProxy(master.Port);
        await StartAsync(master, await StartReplicaAsync(replicationProxy.Port));
        ExpectForgottenMessages();
        await PublishDuringFaultAsync(
            "failover to outdated replica", MessagesPerPublisher,
            async () =>
            {
                replicationProxy.Close();
                await WaitForOtherPublishersAsync();
                await FailOverAsync();
            },
            Notified.All);
        await FinishAsync();
    }

    [Fact]
    public async Task RedisFaults_SeveralInOneRun_DeliverAllMessagesOrNotifyClients()
    {
        // The test has five faults. Each publisher sends MessagesPerPublisher messages in total.
        var messages = MessagesPerPublisher / 5;
        // By default, the suspension is short to save time. RedisSuspension_For30Seconds_LosesNoMessage tests the long
        // suspension.
        var suspension = Effort.Factor > 1 ? LongSuspension : TimeSpan.FromSeconds(13);
        var master = await RedisServer.StartNewAsync(PersistentArguments);
        await StartAsync(master, await StartReplicaAsync(master.Port));
        await PublishDuringFaultAsync("disconnect", messages, DisconnectFirstNodeAsync, Notified.None);
        await PublishDuringFaultAsync("kill", messages, KillAndRestartAsync, Notified.None);
        await PublishDuringFaultAsync("suspend", messages, () => SuspendAsync(suspension), Notified.None);
        await PublishDuringFaultAsync("restart empty", messages, RestartEmptyAsync, Notified.All);
        await PublishDuringFaultAsync("failover", messages, FailOverAsync, Notified.AllOrNone);
        await FinishAsync();
    }
}
