using System.Text;

namespace Broadcast.Middleware.Tests.Testing.Wire;

/// <summary>
/// Tests <see cref="EventParser"/> with the examples in section 9.2.6 of the HTML standard and with edge cases. Many
/// other tests use this parser.
/// </summary>
public sealed class EventParserTests
{
    [Theory]
    [InlineData("data: YHOO\ndata: +2\ndata: 10\n\n", "message:YHOO\n+2\n10", "")]
    [InlineData(": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n", "message:first event|message:second event|message: third event", "")]
    [InlineData("data\n\ndata\ndata\n\ndata:", "message:|message:\n", "")]
    [InlineData("data:test\n\ndata: test\n\n", "message:test|message:test", "")]
    [InlineData("event: add\rdata: 73\r\revent: remove\r\ndata: 21\r\n\r\n", "add:73|remove:21", "")]
    [InlineData("\uFEFFid: 7\n\ndata: \uFEFF\n\n", "message:\uFEFF", "7")]
    [InlineData("id: 8\ndata: lost", "", "")]
    public void EventParser_ExampleInPiecesOfAnySize_ReturnsSpecifiedEvents(string stream, string events, string lastId)
    {
        var bytes = Encoding.UTF8.GetBytes(stream);
        for (var piece = 1; piece <= bytes.Length; piece++)
        {
            var parser = new EventParser();
            for (var at = 0; at < bytes.Length; at += piece) parser.Feed(bytes.AsSpan(at, Math.Min(piece, bytes.Length - at)));
            var heard = new List<string>();
            while (parser.TryTake(out var next)) heard.Add($"{next!.Type}:{next.Data}");
            Assert.Equal(events, string.Join('|', heard));
            Assert.Equal(lastId, parser.LastEventId);
        }
    }
}
