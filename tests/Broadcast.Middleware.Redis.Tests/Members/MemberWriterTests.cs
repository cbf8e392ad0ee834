using Broadcast.Middleware.Redis.Tests.Infrastructure;

namespace Broadcast.Middleware.Redis.Tests.Members;

public sealed class MemberWriterTests : RedisTest
{
    [Fact]
    public async Task Write_OneGroupChangesConstantly_WritesOtherGroups()
    {
        var proxy = CreateProxy();
        var (writer, observer) = (StartNode(proxy.Configuration, UseLongTimeout), StartNode());
        using var stopping = CancellationTokenSource.CreateLinkedTokenSource(Token);
        var changes = Task.Run(
            async () =>
            {
                while (!stopping.IsCancellationRequested)
                {
                    writer.Backplane.SetMember(Group, "m", default);
                    await Task.Yield();
                }
            },
            Token);
        try
        {
            await WaitForMemberAsync(Group);
            // The group changes again during each write.
            proxy.AnswerDelay = TimeSpan.FromMilliseconds(50);
            for (var i = 0; i < 10; i++)
            {
                writer.Backplane.SetMember($"/{i}", "m", default);
                await WaitForMemberAsync($"/{i}");
            }
        }
        finally
        {
            await stopping.CancelAsync();
            await changes;
        }

        static void UseLongTimeout(RedisBackplaneOptions options) => options.NodeTimeout = TimeSpan.FromSeconds(15);

        Task WaitForMemberAsync(string group) => TestNode.EventuallyAsync(
            async () => await observer.Backplane.CountMembersAsync(group, Token) == 1, $"{group} is written.");
    }
}
