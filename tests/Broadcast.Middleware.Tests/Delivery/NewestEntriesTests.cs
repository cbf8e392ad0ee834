using System.Text;
using Microsoft.Extensions.Time.Testing;

namespace Broadcast.Middleware.Tests.Delivery;

/// <summary>Tests that a group returns its newest messages.</summary>
public sealed class NewestEntriesTests
{
    readonly FakeTimeProvider _time = new();

    [Fact]
    public void GetNewest_WithoutHistory_ReturnsMessagesInMemory()
    {
        var group = Create(null);
        Assert.Empty(group.GetNewest(10));
        // The messages fill several blocks. The list refers to an entry of each block, so the garbage collector keeps all blocks.
        var kept = new List<List<LogEntry>>();
        for (var i = 1; i <= 100; i++)
        {
            group.Publish(Message.FromText($"m{i}"), null, 0);
            kept.Add(group.GetNewest(1));
        }

        Assert.Equal(Enumerable.Range(91, 10).Select(static i => $"m{i}"), Texts(group.GetNewest(10)));
        Assert.Equal(100, group.GetNewest(1000).Count);
        Assert.Equal(100, kept.Count);
        GC.KeepAlive(kept);
    }

    [Fact]
    public void GetNewest_WithHistory_ReturnsOnlyKeptMessages()
    {
        var group = Create(new() { HistoryMessages = 5, HistoryAge = TimeSpan.FromMinutes(1) });
        for (var i = 1; i <= 8; i++) group.Publish(Message.FromText($"m{i}"), null, 0);
        Assert.Equal(["m4", "m5", "m6", "m7", "m8"], Texts(group.GetNewest(10)));
        Assert.Equal(["m7", "m8"], Texts(group.GetNewest(2)));
        _time.Advance(TimeSpan.FromMinutes(2));
        Assert.Empty(group.GetNewest(10));
        group.Publish(Message.FromText("new"), null, 0);
        Assert.Equal(["new"], Texts(group.GetNewest(10)));
    }

    Group Create(GroupOptions? history)
    {
        var options = new BroadcastOptions();
        if (history is not null) options.Groups["g"] = history;
        return new Group("g", new SequenceClock(), new GroupRules(options).Find("g"), _time);
    }

    static IEnumerable<string> Texts(IEnumerable<LogEntry> entries) =>
        entries.Select(static entry => Encoding.UTF8.GetString(entry.GetPayload(out _).Span));
}
