using System.Buffers.Binary;

namespace Broadcast.Middleware.Tests.Support;

/// <summary>Creates and reads messages that contain their number. A test can check every byte.</summary>
static class Numbered
{
    public static byte[] Make(int number, int size)
    {
        var message = new byte[Math.Max(size, 4)];
        Array.Fill(message, (byte)number);
        BinaryPrimitives.WriteInt32BigEndian(message, number);
        return message;
    }

    public static int Read(byte[] message)
    {
        var number = BinaryPrimitives.ReadInt32BigEndian(message);
        Assert.Equal(Make(number, message.Length), message);
        return number;
    }

    /// <summary>
    /// Reads <paramref name="count"/> data frames. The frames must contain the messages from 0 on, in order and without a gap.
    /// </summary>
    public static async Task ReadAllAsync(RawClient client, int count, Action<int>? received = null)
    {
        for (var expected = 0; expected < count; expected++)
        {
            var frame = await client.ReadFrameAsync();
            Assert.Equal(ClientFrame.Binary, frame.Opcode);
            Assert.Equal(expected, Read(frame.Payload));
            received?.Invoke(expected + 1);
        }
    }

    /// <summary>
    /// Publishes messages from 0 on. Waits while the reader is further behind than a healthy client may be.
    /// </summary>
    public static async Task PublishAllAsync(BroadcastApp app, int count, int size, Func<int> received)
    {
        var window = Math.Max(1, 256 * 1024 / Math.Max(size, 64));
        for (var number = 0; number < count; number++)
        {
            var next = number;
            await Eventually.True(() => next - received() < window);
            await app.Broadcaster.PublishAsync(Make(number, size), cancellationToken: TestContext.Current.CancellationToken);
        }
    }
}
