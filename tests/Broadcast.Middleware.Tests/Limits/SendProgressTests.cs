using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;

namespace Broadcast.Middleware.Tests.Limits;

public sealed class SendProgressTests
{
    /// <summary>SendTimeout is about writes that make no progress.</summary>
    [Fact]
    public async Task A_client_that_takes_a_large_message_slowly_and_steadily_stays()
    {
        const int Size = 1024 * 1024, Steps = 10;
        var time = new FakeTimeProvider();
        await using var app = await BroadcastApp.StartAsync(
            builder =>
            {
                Stall.SmallSendBuffers(builder);
                builder.Services.AddSingleton<TimeProvider>(time);
            },
            options: options => options.KeepAliveInterval = Timeout.InfiniteTimeSpan);
        await using var slow = await Stall.OpenAsync(app);

        await app.Broadcaster.PublishAsync(new byte[Size], cancellationToken: TestContext.Current.CancellationToken);
        for (var step = 0; step < Steps; step++)
        {
            for (var i = 0; i < Size / Steps; i++) await slow.ReadByteAsync();
            time.Advance(TimeSpan.FromSeconds(4));
        }

        for (var i = Size / Steps * Steps; i < Frame.Size(Size); i++) await slow.ReadByteAsync();
        await Client.IsThereAsync(slow);
    }
}
