using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;

namespace Broadcast.Middleware.Tests.Connections;

public sealed class RevalidationTimesTests
{
    static readonly TimeSpan Minute = TimeSpan.FromMinutes(1);

    readonly FakeTimeProvider _time = new();
    readonly Revalidator _revalidator = new();

    [Fact]
    public async Task Revalidator_AuthenticationExpiresBetweenIntervals_IsCalled()
    {
        _revalidator.HoldsAnswers = true;
        await using var app = await StartAsync(Minute);
        await using var client = await RawClient.OpenAsync(app, TestUsers.As("ann"), TestUsers.Until(_time.GetUtcNow() + (1.5 * Minute)));
        _time.Advance(TimeSpan.FromSeconds(66));
        await Eventually.True(() => _revalidator.Asked == 1);
        await _revalidator.AnswerAsync(1);
        await client.AssertOpenAsync();

        _time.Advance(TimeSpan.FromSeconds(30));

        await Eventually.True(() => _revalidator.Asked == 2);
    }

    /// <summary>The answer to a call covers only the time at which the call began.</summary>
    [Fact]
    public async Task Revalidator_AuthenticationExpiresDuringCall_IsCalledAgain()
    {
        _revalidator.HoldsAnswers = true;
        await using var app = await StartAsync(Minute);
        await using var client = await RawClient.OpenAsync(app, TestUsers.As("ann"), TestUsers.Until(_time.GetUtcNow() + TimeSpan.FromSeconds(70)));
        _time.Advance(TimeSpan.FromSeconds(66));
        await Eventually.True(() => _revalidator.Asked == 1);
        // The next call can begin immediately after the answer. So this call must not wait for another answer of the test.
        _revalidator.HoldsAnswers = false;
        _time.Advance(TimeSpan.FromSeconds(10));
        await _revalidator.AnswerAsync(1);
        await client.AssertOpenAsync();

        _time.Advance(TimeSpan.FromSeconds(5));

        await Eventually.True(() => _revalidator.Asked == 2);
    }

    [Fact]
    public async Task RevalidationInterval_OneSecond_CallsRevalidatorWithinTwoSeconds()
    {
        await using var app = await StartAsync(TimeSpan.FromSeconds(1));
        await using var client = await RawClient.OpenAsync(app, TestUsers.As("ann"));

        _time.Advance(TimeSpan.FromSeconds(2));

        await Eventually.True(() => _revalidator.Asked == 1);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Revalidator_ConnectionEndsDuringCall_IsCanceled(bool withCloseFrame)
    {
        var canceled = new TaskCompletionSource();
        _revalidator.Answer = async (_, token) =>
        {
            await using var registration = token.Register(canceled.SetResult);
            await canceled.Task;
            return true;
        };
        await using var app = await StartAsync(Minute);
        await using var client = await RawClient.OpenAsync(app, TestUsers.As("ann"));
        _time.Advance(TimeSpan.FromSeconds(66));
        await Eventually.True(() => _revalidator.Asked == 1);

        if (withCloseFrame) await client.LeaveAsync();
        else client.Reset();

        await Eventually.True(() => app.Registry.Count == 0);
        try
        {
            await Eventually.True(() => canceled.Task.IsCompleted);
        }
        finally
        {
            canceled.TrySetResult();
        }
    }

    Task<BroadcastApp> StartAsync(TimeSpan interval) => BroadcastApp.StartAsync(
        builder =>
        {
            TestUsers.Add(builder);
            builder.Services.AddSingleton<TimeProvider>(_time);
            builder.Services.AddSingleton<IConnectionRevalidator>(_revalidator);
        },
        options: options => (options.KeepAliveInterval, options.RevalidationInterval) = (Timeout.InfiniteTimeSpan, interval));
}
