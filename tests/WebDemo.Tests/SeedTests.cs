using System.Diagnostics;
using System.Net.WebSockets;

namespace WebDemo.Tests;

public sealed class SeedTests(Demo demo) : IClassFixture<Demo>
{
    /// <summary>The client of the article that the seed is from: websockets.connect, then recv for ever.</summary>
    [Fact(Timeout = 60_000)]
    public async Task The_seeds_python_clients_receive_what_one_of_them_sends()
    {
        var missing = await Python.ProblemAsync();
        Assert.SkipUnless(missing is null, missing ?? "");
        using var one = Start();
        Assert.Equal("Connected!", await ReadLineAsync(one));
        using var two = Start();
        Assert.Equal("Connected!", await ReadLineAsync(two));
        await demo.WaitForCountAsync("/seed", 2);
        await two.StandardInput.WriteLineAsync("hello, Grüße");
        foreach (var client in new[] { one, two }) Assert.Equal("Received: Message: hello, Grüße", await ReadLineAsync(client));

        // The end of their input ends them, with a goodbye.
        foreach (var client in new[] { one, two })
        {
            client.StandardInput.Close();
            await client.WaitForExitAsync(TestContext.Current.CancellationToken);
            Assert.Equal(0, client.ExitCode);
        }

        await demo.WaitForCountAsync("/seed", 0);

        Process Start() => Python.Start("seed_client.py", new UriBuilder(demo.Url) { Scheme = "ws", Path = "/seed" }.Uri.AbsoluteUri);
    }

    [Theory]
    [InlineData("hello", "Message: hello")]
    [InlineData("", "Message: ")]
    [InlineData("你好", "Message: 你好")]
    public async Task Text_comes_back_to_all_after_a_word(string sent, string expected)
    {
        using var one = await demo.ConnectAsync("/seed");
        using var two = await demo.ConnectAsync("/seed");
        await demo.WaitForCountAsync("/seed", 2);
        await one.SendAsync(sent);
        Assert.Equal(expected, await one.ReceiveTextAsync());
        Assert.Equal(expected, await two.ReceiveTextAsync());
        foreach (var socket in new[] { one, two }) await socket.CloseAsync(WebSocketCloseStatus.NormalClosure, null, TestContext.Current.CancellationToken);
        await demo.WaitForCountAsync("/seed", 0);
    }

    [Fact]
    public async Task A_binary_message_closes_its_sender_with_1003_and_nobody_else()
    {
        using var other = await demo.ConnectAsync("/seed");
        using var sender = await demo.ConnectAsync("/seed");
        await demo.WaitForCountAsync("/seed", 2);
        await sender.SendAsync(new byte[] { 1 }, WebSocketMessageType.Binary, true, TestContext.Current.CancellationToken);
        Assert.Equal(WebSocketMessageType.Close, (await sender.ReceiveAsync()).Type);
        Assert.Equal(WebSocketCloseStatus.InvalidMessageType, sender.CloseStatus);
        Assert.Equal("This URL takes text messages only.", sender.CloseStatusDescription);
        await sender.CloseOutputAsync(WebSocketCloseStatus.InvalidMessageType, null, TestContext.Current.CancellationToken);
        await demo.WaitForCountAsync("/seed", 1);
        await other.SendAsync("still here");
        Assert.Equal("Message: still here", await other.ReceiveTextAsync());
        await other.CloseAsync(WebSocketCloseStatus.NormalClosure, null, TestContext.Current.CancellationToken);
        await demo.WaitForCountAsync("/seed", 0);
    }

    static async Task<string?> ReadLineAsync(Process client) =>
        await client.StandardOutput.ReadLineAsync(TestContext.Current.CancellationToken) ??
        $"Nothing, but this error: {await client.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken)}";
}
