using System.Globalization;
using System.Text.Json;
using Broadcast.Middleware.Tests.Limits;
using Broadcast.Middleware.Tests.Wire;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Broadcast.Middleware.Tests.Protocols;

/// <summary>Several who come back to one connection, and one who comes back to it while something holds it.</summary>
public sealed class RecoveryRaceTests
{
    const string End = "end";

    readonly RecoveryClock _clock = new();

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(2, true)]
    [InlineData(10, true)]
    [InlineData(2, false)]
    [InlineData(10, false)]
    public async Task Of_several_at_once_one_has_the_connection_in_the_end_and_all_of_its_messages(int count, bool isLost)
    {
        await using var app = await ReliableApp.StartAsync(_clock);
        await using var stranger = await ReliableClient.OpenAsync(app);
        await using var client = await ReliableClient.OpenAsync(app);
        await app.PublishToAsync(Recipients.Connection(stranger.Id), "not for you");
        await app.PublishToAsync(Recipients.Connection(client.Id), "0", "1");
        await client.HearsAsync("0", "1");
        if (isLost)
        {
            client.Lose();
            await _clock.WaitsAsync();
        }

        var readings = Enumerable.Range(0, count).Select(_ => Task.Run(ReadAsync, Token)).ToArray();
        var published = 2;
        await Eventually.True(() =>
        {
            Publish((published++).ToString(CultureInfo.InvariantCulture));
            return readings.Count(reading => reading.IsCompleted) == count - 1;
        });
        Publish(End);

        var winner = Assert.Single(await Task.WhenAll(readings), heard => heard.HasAll);
        Assert.Equal(published, winner.Messages);
        Assert.Equal(2, app.Registry.Count);
        // What it was told is what counts.
        await using var again = await client.ComeBackAsync(app, winner.Token);
        for (var i = 0; i < published; i++) await again.HearsAsync(i.ToString(CultureInfo.InvariantCulture));
        await again.HearsAsync(End);
        await JsonClient.HearsNothingElseAsync(again.Line);
        await stranger.HearsAsync("not for you");
        await JsonClient.HearsNothingElseAsync(stranger.Line);
        LogAssert.NoErrors(app);

        void Publish(string text) => app.Inside().Publish(Message.FromText(text), Recipients.Connection(client.Id));

        // Everything from the first message on, in order, until it is refused or cut off, or has all.
        async Task<(bool HasAll, int Messages, string? Token)> ReadAsync()
        {
            var (messages, token) = (0, default(string));
            try
            {
                // It may be cut off before it has seen the handshake's answer.
                await using var line = await ReliableClient.AskAsync(app, client.Id, client.Token);
                while (true)
                {
                    var frame = await line.ReadFrameAsync();
                    if (frame.Opcode == ClientFrame.Close)
                    {
                        Assert.Equal((1008, 0, null), (frame.CloseCode, messages, token));
                        return default;
                    }

                    if (token is null)
                    {
                        using var connected = JsonDocument.Parse(frame.Text);
                        Assert.Equal(client.Id, connected.RootElement.GetProperty("connectionId").GetString());
                        token = connected.RootElement.GetProperty("reconnectionToken").GetString();
                        continue;
                    }

                    var message = ReliableMessage.Parse(frame.Text);
                    if (message.Data == End) return (true, messages, token);
                    Assert.Equal((messages++).ToString(CultureInfo.InvariantCulture), message.Data);
                }
            }
            catch (LineEndedException)
            {
                return default;
            }
        }
    }

    [Fact]
    public async Task While_a_filter_of_the_old_line_runs_who_comes_back_waits_for_it()
    {
        using var filter = new BlockingFilter(Stage.Message, Blocking.Task);
        await using var app = await StartAsync(filter);
        await using var client = await ReliableClient.OpenAsync(app, headers: [TestUsers.As("it")]);
        await client.SayAsync("""{"type":"sendToGroup","group":"/ws","ackId":1,"data":1}""");
        await filter.Entered;
        client.Lose();
        await using var line = await ReliableClient.AskAsync(app, client.Id, client.Token, headers: [TestUsers.As("it")]);
        await _clock.WaitsAsync();

        filter.Release();

        await using var again = await client.ComeBackAsync(line);
        // It was published by the old line, after this one had asked; the answer to it is lost, and can be asked for.
        await again.HearsAsync("1");
        await again.SayAsync("""{"type":"sendToGroup","group":"/ws","ackId":1,"data":1}""");
        await JsonClient.FailsAsync(again.Line, 1, "Duplicate");
        await JsonClient.HearsNothingElseAsync(again.Line);
    }

    [Fact]
    public async Task A_filter_that_does_not_end_is_waited_for_as_long_as_a_client_would_be()
    {
        using var filter = new BlockingFilter(Stage.Message, Blocking.Task);
        await using var app = await StartAsync(filter);
        await using var client = await ReliableClient.OpenAsync(app, headers: [TestUsers.As("it")]);
        await client.SayAsync("""{"type":"sendToGroup","group":"/ws","data":1}""");
        await filter.Entered;
        await using var line = await ReliableClient.AskAsync(app, client.Id, client.Token, headers: [TestUsers.As("it")]);
        await _clock.WaitsAsync();

        _clock.Expire();

        await ReliableClient.IsRefusedAsync(line);
        // It is still one, and can still be had.
        Assert.Equal(1, app.Registry.Count);
        await using var late = await ReliableClient.AskAsync(app, client.Id, client.Token, headers: [TestUsers.As("it")]);
        await _clock.WaitsAsync(2);
        filter.Release();
        await using var again = await client.ComeBackAsync(late);
        await again.HearsAsync("1");
    }

    [Fact]
    public async Task A_filter_that_heeds_the_end_of_its_line_is_told_by_who_comes_back()
    {
        using var filter = new BlockingFilter(Stage.Message, Blocking.UntilAborted);
        await using var app = await StartAsync(filter);
        await using var client = await ReliableClient.OpenAsync(app, headers: [TestUsers.As("it")]);
        await client.SayAsync("""{"type":"sendToGroup","group":"/ws","data":1}""");
        await filter.Entered;

        await using var again = await client.ComeBackAsync(app);

        await JsonClient.HearsNothingElseAsync(again.Line);
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task Of_two_who_wait_for_a_filter_the_later_one_gets_the_connection()
    {
        using var filter = new BlockingFilter(Stage.Message, Blocking.Task);
        await using var app = await StartAsync(filter);
        await using var client = await ReliableClient.OpenAsync(app, headers: [TestUsers.As("it")]);
        await client.SayAsync("""{"type":"sendToGroup","group":"/ws","data":1}""");
        await filter.Entered;
        await using var first = await ReliableClient.AskAsync(app, client.Id, client.Token, headers: [TestUsers.As("it")]);
        await _clock.WaitsAsync();
        await using var second = await ReliableClient.AskAsync(app, client.Id, client.Token, headers: [TestUsers.As("it")]);

        await ReliableClient.IsRefusedAsync(first);
        filter.Release();
        await using var again = await client.ComeBackAsync(second);

        await again.HearsAsync("1");
    }

    [Fact]
    public async Task Who_waits_for_a_connection_that_ends_is_refused()
    {
        using var filter = new BlockingFilter(Stage.Message, Blocking.Task);
        await using var app = await StartAsync(filter);
        await using var client = await ReliableClient.OpenAsync(app, headers: [TestUsers.As("it")]);
        await client.SayAsync("""{"type":"sendToGroup","group":"/ws","data":1}""");
        await filter.Entered;
        await using var line = await ReliableClient.AskAsync(app, client.Id, client.Token, headers: [TestUsers.As("it")]);
        await _clock.WaitsAsync();

        await app.Broadcaster.CloseAsync(client.Id, cancellationToken: Token);
        filter.Release();

        await ReliableClient.IsRefusedAsync(line);
        await app.IsEmptyAsync();
    }

    [Fact]
    public async Task A_line_that_is_gone_before_it_gets_the_connection_loses_it_again()
    {
        using var filter = new BlockingFilter(Stage.Message, Blocking.Task);
        await using var app = await StartAsync(filter);
        await using var client = await ReliableClient.OpenAsync(app, headers: [TestUsers.As("it")]);
        await client.SayAsync("""{"type":"sendToGroup","group":"/ws","data":1}""");
        await filter.Entered;
        await using var gone = await ReliableClient.AskAsync(app, client.Id, client.Token, headers: [TestUsers.As("it")]);
        await _clock.WaitsAsync();
        gone.Reset();
        filter.Release();
        await _clock.WaitsAsync(2);

        await using var again = await client.ComeBackAsync(app);

        await again.HearsAsync("1");
    }

    [Fact]
    public async Task A_slow_disconnect_filter_does_not_keep_who_is_refused_waiting()
    {
        using var filter = new BlockingFilter(Stage.Disconnect, Blocking.Task);
        await using var app = await StartAsync(filter, options => options.MaxUnacknowledgedMessages = 1);
        await using var client = await ReliableClient.OpenAsync(app, headers: [TestUsers.As("it")]);
        await app.PublishAsync("1", "2", "3");
        await client.HearsAsync("1", "2", "3");

        // The line itself lasts as long as the request.
        await using var line = await ReliableClient.AskAsync(app, client.Id, client.Token, headers: [TestUsers.As("it")]);
        Assert.Equal((1008, ReliableClient.Refused), await ReadCloseAsync(line));
        await filter.Entered;

        static async Task<(int?, string)> ReadCloseAsync(RawClient line)
        {
            var close = await line.ReadFrameAsync();
            return (close.CloseCode, close.CloseReason);
        }
    }

    [Fact]
    public async Task What_comes_late_to_cut_off_the_old_line_does_not_touch_a_request_that_has_ended()
    {
        await using var app = await ReliableApp.StartAsync(_clock);
        await using var client = await ReliableClient.OpenAsync(app);
        var connection = client.ConnectionOf(app);
        var context = connection.HttpContext;
        client.Lose();
        await _clock.WaitsAsync();

        // What the request of one who comes back does first. The old one ends when the new one is in its place, and not before.
        Assert.NotNull(await connection.Session!.ClaimAsync(client.Token!));
        Assert.False(HasEnded(context));
        connection.Session.OnTaken();
        await Eventually.True(() => HasEnded(context));

        connection.AbortNow();

        static bool HasEnded(HttpContext context)
        {
            try
            {
                _ = context.RequestAborted;
                return false;
            }
            catch (ObjectDisposedException)
            {
                return true;
            }
        }
    }

    [Fact]
    public async Task A_logger_that_throws_does_not_leave_a_connection_behind_that_nobody_serves()
    {
        await using var app = await ReliableApp.StartAsync(
            _clock, configure: builder => builder.Logging.AddProvider(new FaultyLogger("has a new line")));
        await using var client = await ReliableClient.OpenAsync(app);
        client.Lose();
        await _clock.WaitsAsync();
        await using var line = await ReliableClient.AskAsync(app, client.Id, client.Token);
        await _clock.WaitsAsync(2);

        _clock.Expire();

        await app.IsEmptyAsync();
    }

    /// <summary>Throws at what contains a text.</summary>
    sealed class FaultyLogger(string text) : ILoggerProvider, ILogger
    {
        public ILogger CreateLogger(string categoryName) => this;

        public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            if (formatter(state, exception).Contains(text, StringComparison.Ordinal)) throw new InvalidOperationException("boom");
        }

        public void Dispose()
        {
        }
    }

    Task<BroadcastApp> StartAsync(BlockingFilter filter, Action<BroadcastOptions>? options = null) => ReliableApp.StartAsync(
        _clock, options, app => app.MapBroadcast("/ws").Use<BlockingFilter>(), builder => builder.Services.AddSingleton(filter));
}
