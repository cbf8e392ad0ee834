using System.Text.Json;
using CsCheck;

namespace Broadcast.Middleware.Tests.Messages;

public sealed class PositionTests
{
    [Fact]
    public void Position_FormattedAndParsed_RoundTrips() =>
        Gen.Select(Gen.ULong, Gen.Long[0, long.MaxValue]).Sample((epoch, offset) =>
        {
            var position = new Position(epoch, offset);
            Assert.True(Position.TryParse($"{position}", out var read));
            Assert.Equal(position, read);
        });

    [Fact]
    public void ToString_Position_UsesFixedFormat()
    {
        Assert.Equal("00c0ffee00c0ffee-42", $"{new Position(0x00c0ffee00c0ffee, 42)}");
        Assert.Equal("0000000000000000-0", $"{default(Position)}");
        Assert.Equal("ffffffffffffffff-9223372036854775807", $"{new Position(ulong.MaxValue, long.MaxValue)}");
    }

    [Theory]
    [InlineData(null)]
    [InlineData("")]
    [InlineData("-")]
    [InlineData("42")]
    [InlineData("00c0ffee00c0ffee")]
    [InlineData("00c0ffee00c0ffee-")]
    [InlineData("00c0ffee00c0ffee42")]
    [InlineData("00c0ffee00c0ffee--1")]
    [InlineData("00c0ffee00c0ffee-+1")]
    [InlineData("00c0ffee00c0ffee- 1")]
    [InlineData("00c0ffee00c0ffee-1 ")]
    [InlineData("00c0ffee00c0ffee-1\n")]
    [InlineData("00c0ffee00c0ffee-1\0")]
    [InlineData("00c0ffee00c0ffee-1.0")]
    [InlineData("00c0ffee00c0ffee-1e3")]
    [InlineData("00c0ffee00c0ffee-1,000")]
    [InlineData("00c0ffee00c0ffee-0x1")]
    [InlineData("00c0ffee00c0ffee-007")]
    [InlineData("00c0ffee00c0ffee-00")]
    [InlineData("00c0ffee00c0ffee-9223372036854775808")]
    [InlineData("00c0ffee00c0ffee-99999999999999999999999999")]
    [InlineData("00c0ffee00c0ffee-\u0661")]
    [InlineData("00C0FFEE00C0FFEE-1")]
    [InlineData("0xc0ffee00c0ffee-1")]
    [InlineData("00c0ffee00c0ffe-1")]
    [InlineData("000c0ffee00c0ffee-1")]
    [InlineData("00c0ffee00c0ffeg-1")]
    [InlineData(" 0c0ffee00c0ffee-1")]
    [InlineData("00c0ffee00c0ff\0\0-1")]
    [InlineData("-0c0ffee00c0ffee-1")]
    public void TryParse_InvalidText_ReturnsFalse(string? text)
    {
        Assert.False(Position.TryParse(text, out var position));
        Assert.Equal(default, position);
    }

    [Fact]
    public void TryParse_RandomText_AcceptsOnlyFormatOfToString() =>
        Gen.Select(Gen.String["0123456789abcdefABCDEF \0"], Gen.String["0123456789-+ \0"]).Sample((epoch, offset) =>
        {
            var text = $"{epoch.PadLeft(16, '0')[..16]}-{offset}";
            if (Position.TryParse(text, out var position)) Assert.Equal(text, $"{position}");
        });

    [Fact]
    public void Json_Position_IsStringOfSameText()
    {
        // JavaScript would round this epoch if it were a number.
        var result = new PublishResult(new(ulong.MaxValue - 1, 42), 3);
        Assert.Equal(
            """{"position":"fffffffffffffffe-42","remoteNodes":null,"isLocalOnly":false,"isDuplicate":false,"localRecipients":3}""",
            JsonSerializer.Serialize(result, JsonSerializerOptions.Web));
        Assert.Equal("null", JsonSerializer.Serialize(default(Position?)));
        Assert.Equal(result.Position, JsonSerializer.Deserialize<Position?>("\"fffffffffffffffe-42\""));
        Assert.Null(JsonSerializer.Deserialize<Position?>("null"));
    }

    [Theory]
    [InlineData("null")]
    [InlineData("42")]
    [InlineData("\"42\"")]
    [InlineData("{\"epoch\":1,\"offset\":2}")]
    [InlineData("\"FFFFFFFFFFFFFFFE-42\"")]
    public void Json_OtherValue_ThrowsWithExample(string json)
    {
        var exception = Assert.Throws<JsonException>(() => JsonSerializer.Deserialize<Position>(json));
        Assert.Contains("00c0ffee00c0ffee-42", exception.Message, StringComparison.Ordinal);
    }
}
