using Microsoft.Extensions.Primitives;

namespace Broadcast.Middleware.Tests.Http;

/// <summary>Tests the negotiation of compression (RFC 7692, section 7.1).</summary>
public sealed class DeflateOfferTests
{
    const string Answer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

    [Theory]
    [InlineData("permessage-deflate", "")]
    [InlineData("permessage-deflate; client_max_window_bits", "")] // Chromium and Firefox send this offer.
    [InlineData("permessage-deflate; server_max_window_bits=12; client_max_window_bits=12", "; server_max_window_bits=12")] // The Python package websockets sends this offer.
    [InlineData("permessage-deflate;client_no_context_takeover;client_max_window_bits", "")] // Autobahn, case 13.1.
    [InlineData("permessage-deflate; server_no_context_takeover", "")] // Case 13.2.
    [InlineData("permessage-deflate; server_max_window_bits=9", "; server_max_window_bits=9")] // Case 13.3.
    [InlineData("permessage-deflate; server_max_window_bits=15", "; server_max_window_bits=15")] // Case 13.4.
    [InlineData("permessage-deflate; server_no_context_takeover; server_max_window_bits=9", "; server_max_window_bits=9")] // Case 13.5.
    [InlineData("permessage-deflate; server_no_context_takeover; server_max_window_bits=15", "; server_max_window_bits=15")] // Case 13.6.
    [InlineData("permessage-deflate; server_max_window_bits=14", "; server_max_window_bits=12")]
    [InlineData("permessage-deflate; server_max_window_bits=11", "; server_max_window_bits=9")]
    [InlineData("permessage-deflate; client_max_window_bits=8", "")]
    [InlineData("permessage-deflate; server_max_window_bits=\"10\"", "; server_max_window_bits=9")]
    [InlineData("permessage-deflate; server_max_window_bits=\"\\1\\0\"", "; server_max_window_bits=9")]
    [InlineData("\t permessage-deflate \t;\t server_max_window_bits \t=\t 15 \t", "; server_max_window_bits=15")]
    [InlineData(", ,permessage-deflate,", "")]
    public void Accept_ValidOffer_CreatesResponse(string header, string parameters)
    {
        Assert.Equal(Answer + parameters, AnswerTo(header));
    }

    [Theory]
    [InlineData("")]
    [InlineData(",")]
    [InlineData("x-webkit-deflate-frame")]
    [InlineData("Permessage-Deflate")]
    [InlineData("permessage-deflate; unknown")]
    [InlineData("permessage-deflate; server_no_context_takeover; server_no_context_takeover")]
    [InlineData("permessage-deflate; client_max_window_bits; client_max_window_bits=10")]
    [InlineData("permessage-deflate; server_no_context_takeover=1")]
    [InlineData("permessage-deflate; client_no_context_takeover=true")]
    [InlineData("permessage-deflate; server_max_window_bits")]
    [InlineData("permessage-deflate; server_max_window_bits=7")]
    [InlineData("permessage-deflate; server_max_window_bits=8")] // This offer is valid, but the server does not support such a small window.
    [InlineData("permessage-deflate; server_max_window_bits=16")]
    [InlineData("permessage-deflate; server_max_window_bits=015")]
    [InlineData("permessage-deflate; server_max_window_bits=-9")]
    [InlineData("permessage-deflate; server_max_window_bits=0")]
    [InlineData("permessage-deflate; server_max_window_bits=150")]
    [InlineData("permessage-deflate; server_max_window_bits=1x")]
    [InlineData("permessage-deflate; client_max_window_bits=7")]
    [InlineData("permessage-deflate; client_max_window_bits=99999999999999999999")]
    [InlineData("permessage-deflate; server_max_window_bits=\"\"")]
    [InlineData("permessage-deflate; server_max_window_bits=\"15")]
    [InlineData("permessage-deflate; server_max_window_bits=\"1 5\"")]
    [InlineData("permessage-deflate; server_max_window_bits=\"15\\")]
    [InlineData("permessage-deflate; server_max_window_bits=")]
    [InlineData("permessage-deflate;")]
    [InlineData("permessage-deflate; ;")]
    [InlineData("permessage-deflate permessage-deflate")]
    [InlineData("permessage-deflate=15")]
    [InlineData("; permessage-deflate")]
    [InlineData("=, permessage-deflate")]
    [InlineData("\"permessage-deflate\"")]
    [InlineData("permessage-deflate; clïent_no_context_takeover")]
    public void Accept_InvalidOffer_ReturnsNull(string header) => Assert.Null(DeflateOffer.Accept(header));

    [Theory]
    [InlineData("permessage-deflate; unknown, permessage-deflate; server_max_window_bits=15", "; server_max_window_bits=15")]
    [InlineData("permessage-deflate; server_max_window_bits=8, permessage-deflate", "")]
    [InlineData("other; text=\"a,b;c\", permessage-deflate", null)] // The text in the quotes is not a token, so the header is invalid.
    [InlineData("other; text=\"abc\"; more, permessage-deflate", "")]
    [InlineData("permessage-deflate; server_no_context_takeover; server_max_window_bits=9, permessage-deflate; server_no_context_takeover, permessage-deflate", "; server_max_window_bits=9")] // Case 13.7.
    public void Accept_SeveralOffers_ReturnsFirstValidOffer(string header, string? parameters) =>
        Assert.Equal(parameters is null ? null : Answer + parameters, AnswerTo(header));

    [Fact]
    public void Accept_SeveralHeaders_ReadsEachHeader()
    {
        Assert.Equal(Answer, AnswerTo(new StringValues(["other", "permessage-deflate"])));
        // After a syntax error, the server ignores the rest of this header and still reads the next header.
        Assert.Equal(Answer, AnswerTo(new StringValues(["permessage-deflate; =", "permessage-deflate"])));
        Assert.Null(DeflateOffer.Accept(StringValues.Empty));
    }

    [Fact]
    public void Accept_RandomText_NeverThrows()
    {
        string[] parts = ["permessage-deflate", "server_max_window_bits", "client_max_window_bits", "x", "15", "9", ";", ",", "=", "\"", "\\", " ", "\t", "é", "\0"];
        var accepted = 0;
        for (var seed = 0; seed < 20_000; seed++)
        {
            var random = new Random(seed);
            var header = string.Concat(Enumerable.Range(0, random.Next(12)).Select(_ => parts[random.Next(parts.Length)]));
            if (DeflateOffer.Accept(header) is not null) accepted++;
        }

        Assert.True(accepted > 0);
    }

    static string? AnswerTo(StringValues headers) => DeflateOffer.Accept(headers) is { } offer
        ? offer.CreateResponse(new CompressionSettings(0).ForWindow(offer.WindowBits).WindowBits)
        : null;
}
