using System.Buffers;
using System.Text;
using CsCheck;

namespace Broadcast.Middleware.Tests.Delivery;

/// <summary>Tests that the server finds the first invalid byte of a text before the frame is complete.</summary>
public sealed class FrameInspectorTests
{
    [Fact]
    public void Read_RandomTextInRandomPieces_FindsFirstInvalidByte() =>
        Gen.Select(Gen.OneOf(Gen.Byte.Array[0, 40], TextBytes, Gen.Select(TextBytes, Gen.Byte.Array[0, 4], static (text, rest) => (byte[])[.. text, .. rest])),
            Gen.OneOf(Gen.Int[1, 8], Gen.Int[1, 700]), Gen.OneOf(Gen.Int[1, 8], Gen.Int[1, 900]), Gen.Bool).Sample(
            (text, fragment, piece, hasControlFrames) =>
            {
                byte[] bytes = [.. Frames(text, fragment, hasControlFrames)];
                var inspector = default(FrameInspector);
                for (var i = 0; i < bytes.Length; i += piece) inspector.Read(bytes.AsSpan(i, Math.Min(piece, bytes.Length - i)));
                Assert.Equal(HasInvalidPrefix(text), inspector.HasInvalidText);
            },
            iter: 3_000 * Effort.Factor);

    [Fact]
    public void IsBetweenMessages_AfterCompleteMessage_IsTrue()
    {
        var inspector = default(FrameInspector);
        inspector.Read(ClientFrame.OfText("hello"));
        Assert.True(inspector.IsBetweenMessages);
        inspector.Read(ClientFrame.Make(ClientFrame.Binary, [0xFF], fin: false));
        inspector.Read(ClientFrame.Make(ClientFrame.Continuation, [0xFF]));
        Assert.True(inspector.IsBetweenMessages);
        inspector.Read(ClientFrame.Make(ClientFrame.Text, "a"u8, fin: false));
        Assert.False(inspector.IsBetweenMessages);
        inspector.Read(ClientFrame.Make(ClientFrame.Ping, [0xFF]));
        Assert.False(inspector.IsBetweenMessages);
        inspector.Read(ClientFrame.Make(ClientFrame.Continuation, []));
        Assert.Equal((true, false), (inspector.IsBetweenMessages, inspector.HasInvalidText));
        inspector.Read(ClientFrame.OfText("hello").AsSpan(0, 1));
        Assert.False(inspector.IsBetweenMessages);
    }

    static Gen<byte[]> TextBytes { get; } = Gen.String["aé€😀\ud83d\ude00"].Select(Encoding.UTF8.GetBytes);

    /// <summary>Creates fragments of one text without a last fragment, so that only the inspector can find an error.</summary>
    static IEnumerable<byte> Frames(byte[] text, int fragment, bool hasControlFrames)
    {
        var opcode = ClientFrame.Text;
        for (var i = 0; i < text.Length; i += fragment)
        {
            foreach (var next in ClientFrame.Make(opcode, text.AsSpan(i, Math.Min(fragment, text.Length - i)), fin: false)) yield return next;
            if (hasControlFrames)
            {
                foreach (var next in ClientFrame.Make(ClientFrame.Ping, [0xFF, 0xC0])) yield return next;
            }

            opcode = ClientFrame.Continuation;
        }
    }

    static bool HasInvalidPrefix(ReadOnlySpan<byte> text)
    {
        while (!text.IsEmpty)
        {
            switch (Rune.DecodeFromUtf8(text, out _, out var count))
            {
                case OperationStatus.NeedMoreData:
                    return false;
                case OperationStatus.InvalidData:
                    return true;
            }

            text = text[count..];
        }

        return false;
    }
}
