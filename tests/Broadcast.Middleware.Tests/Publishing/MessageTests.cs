namespace Broadcast.Middleware.Tests;

public sealed class MessageTests
{
    [Fact]
    public void Text_is_encoded_and_can_be_read_again()
    {
        var message = Message.FromText("grüße");
        Assert.Equal("grüße"u8, message.Payload.Span);
        Assert.Equal(MessageType.Text, message.Type);
        Assert.Equal("grüße", $"{message}");
    }

    [Fact]
    public void Bytes_that_are_no_text_read_as_replacement_characters() =>
        Assert.Equal("\ufffdA", new Message(new byte[] { 0xFF, 0x41 }, MessageType.Binary).ToString());

    [Fact]
    public void There_is_no_text_without_text() => Assert.Throws<ArgumentNullException>("text", () => Message.FromText(null!));

    [Fact]
    public void The_types_are_the_opcodes_of_the_protocol() => Assert.Equal((1, 2), ((int)MessageType.Text, (int)MessageType.Binary));
}
