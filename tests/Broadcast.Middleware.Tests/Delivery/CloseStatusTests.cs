using System.Net.WebSockets;

namespace Broadcast.Middleware.Tests.Delivery;

public sealed class CloseStatusTests
{
    [Theory]
    [InlineData(1000)]
    [InlineData(1001)]
    [InlineData(1003)]
    [InlineData(1007)]
    [InlineData(1011)]
    [InlineData(1012)]
    [InlineData(1013)]
    [InlineData(1014)]
    [InlineData(3000)]
    [InlineData(4000)]
    [InlineData(4999)]
    public void ThrowIfNotSendable_SendableCode_DoesNotThrow(int code) => CloseStatus.ThrowIfNotSendable((WebSocketCloseStatus)code, null);

    [Theory]
    [InlineData(-1)]
    [InlineData(0)]
    [InlineData(999)]
    [InlineData(1004)]
    [InlineData(1005)]
    [InlineData(1006)]
    [InlineData(1015)]
    [InlineData(1016)]
    [InlineData(2999)]
    [InlineData(5000)]
    [InlineData(70_000)]
    public void ThrowIfNotSendable_OtherCode_ThrowsAndNamesCode(int code)
    {
        var error = Assert.Throws<ArgumentException>(() => CloseStatus.ThrowIfNotSendable((WebSocketCloseStatus)code, null));
        Assert.Contains($"{code}", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void ThrowIfNotSendable_ReasonLongerThan123Bytes_Throws()
    {
        CloseStatus.ThrowIfNotSendable(WebSocketCloseStatus.NormalClosure, "");
        CloseStatus.ThrowIfNotSendable(WebSocketCloseStatus.NormalClosure, new string('x', 123));
        CloseStatus.ThrowIfNotSendable(WebSocketCloseStatus.NormalClosure, new string('ä', 61) + "x");
        Assert.Throws<ArgumentException>(() => CloseStatus.ThrowIfNotSendable(WebSocketCloseStatus.NormalClosure, new string('x', 124)));
        Assert.Throws<ArgumentException>(() => CloseStatus.ThrowIfNotSendable(WebSocketCloseStatus.NormalClosure, new string('ä', 62)));
    }
}
