namespace Broadcast.Middleware.Tests.Messages;

public sealed class MessageTests
{
    [Fact]
    public void FromText_NonAsciiText_RoundTrips()
    {
        var message = Message.FromText("grüße");
        Assert.Equal("grüße"u8, message.Payload.Span);
        Assert.Equal(MessageType.Text, message.Type);
        Assert.Equal("grüße", $"{message}");
    }

    [Fact]
    public void ToString_InvalidUtf8_UsesReplacementCharacters() =>
        Assert.Equal("\ufffdA", new Message(new byte[] { 0xFF, 0x41 }, MessageType.Binary).ToString());

    [Fact]
    public void FromText_Null_Throws() => Assert.Throws<ArgumentNullException>("text", () => Message.FromText(null!));

    [Fact]
    public void MessageType_Values_AreWebSocketOpcodes() => Assert.Equal((1, 2), ((int)MessageType.Text, (int)MessageType.Binary));
}
