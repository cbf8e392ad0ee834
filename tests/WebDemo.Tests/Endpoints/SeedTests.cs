using System.Diagnostics;
using System.Net.WebSockets;

namespace WebDemo.Tests;

/// <summary>Tests the URL /seed, which behaves like the original Python server. No other test uses /seed of the shared server.</summary>
public sealed class SeedTests(DemoServer server)
{
    [Fact(Timeout = 120_000)]
    public async Task PythonClients_OneClientSends_BothClientsReceiveMessage()
    {
        var problem = await PythonClient.FindProblemAsync();
        Assert.SkipUnless(problem is null, problem ?? "");
        using var one = Start();
        Assert.Equal("Connected!", await ReadLineAsync(one));
        using var two = Start();
        Assert.Equal("Connected!", await ReadLineAsync(two));
        await server.WaitForCountAsync("/seed", 2);
        await two.StandardInput.WriteLineAsync("hello, Grüße");
        foreach (var client in new[] { one, two }) Assert.Equal("Received: Message: hello, Grüße", await ReadLineAsync(client));

        // At the end of its input, a client closes its connection and exits.
        foreach (var client in new[] { one, two })
        {
            client.StandardInput.Close();
            await client.WaitForExitAsync(TestContext.Current.CancellationToken);
            Assert.Equal(0, client.ExitCode);
        }

        await server.WaitForCountAsync("/seed", 0);

        Process Start() => PythonClient.Start("seed_client.py", server.GetWebSocketUrl("/seed").AbsoluteUri);
    }

    [Theory]
    [InlineData("hello", "Message: hello")]
    [InlineData("", "Message: ")]
    [InlineData("你好", "Message: 你好")]
    public async Task Send_Text_ReachesAllClientsWithPrefix(string text, string expected)
    {
        using var one = await server.ConnectAsync("/seed");
        using var two = await server.ConnectAsync("/seed");
        await server.WaitForCountAsync("/seed", 2);
        await one.SendTextAsync(text);
        Assert.Equal(expected, await one.ReceiveTextAsync());
        Assert.Equal(expected, await two.ReceiveTextAsync());
        foreach (var socket in new[] { one, two }) await socket.CloseNormallyAsync();
        await server.WaitForCountAsync("/seed", 0);
    }

    [Fact]
    public async Task Send_Binary_ClosesOnlySenderWithCode1003()
    {
        using var other = await server.ConnectAsync("/seed");
        using var sender = await server.ConnectAsync("/seed");
        await server.WaitForCountAsync("/seed", 2);
        await sender.SendBinaryAsync(1);
        await sender.AssertClosedAsync(WebSocketCloseStatus.InvalidMessageType, "This URL accepts text messages only.");
        await sender.CloseOutputAsync(WebSocketCloseStatus.InvalidMessageType, null, TestContext.Current.CancellationToken);
        await server.WaitForCountAsync("/seed", 1);
        await other.SendTextAsync("still here");
        Assert.Equal("Message: still here", await other.ReceiveTextAsync());
        await other.CloseNormallyAsync();
        await server.WaitForCountAsync("/seed", 0);
    }

    static async Task<string?> ReadLineAsync(Process client) =>
        await client.StandardOutput.ReadLineAsync(TestContext.Current.CancellationToken) ??
        $"The client has printed no line. Its errors: {await client.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken)}";
}
