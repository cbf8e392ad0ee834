using System.Diagnostics;
using System.Globalization;
using System.Text.Json;

namespace WebDemo.Tests;

/// <summary>
/// Tests compression (RFC 7692) with unmodified clients: Chromium, <c>ws</c> from npm, and <c>websockets</c> for Python. A .NET
/// client without compression is a member of the same group.
/// </summary>
public sealed class CompressionTests(CompressionTests.CompressingServer server, BrowserFixture browser)
    : IClassFixture<CompressionTests.CompressingServer>, IClassFixture<BrowserFixture>
{
    // Each client sends the first message and waits for two messages. Then the client prints the extension, the number of
    // received bytes, and both texts.
    const string WsClient = """
        import WebSocket from "ws";
        const socket = new WebSocket(process.argv[1]);
        const texts = [];
        socket.on("open", () => socket.send("first ".repeat(5000)));
        socket.on("message", data => {
          texts.push(data.toString());
          if (texts.length < 2) return;
          process.stdout.write(JSON.stringify([socket.extensions, socket._socket.bytesRead, ...texts]) + "\n");
          socket.close();
        });
        """;

    const string PythonScript = """
        import asyncio, json, sys, websockets

        async def main():
            async with websockets.connect(sys.argv[1]) as socket:
                await socket.send('first ' * 5000)
                texts = [await socket.recv(), await socket.recv()]
                extensions = getattr(socket, 'extensions', None) or socket.protocol.extensions
                print(json.dumps([extensions[0].name, 0, *texts]), flush=True)

        asyncio.run(main())
        """;

    const string BrowserClient = """
        url => new Promise((resolve, reject) => {
          const socket = new WebSocket(url);
          const texts = [];
          socket.onopen = () => socket.send("first ".repeat(5000));
          socket.onerror = () => reject(new Error("The connection failed."));
          socket.onmessage = event => {
            texts.push(event.data);
            if (texts.length === 2) resolve(JSON.stringify([socket.extensions, 0, ...texts]));
          };
        })
        """;

    static readonly string First = string.Concat(Enumerable.Repeat("first ", 5000));
    static readonly string Second = string.Concat(Enumerable.Repeat("second ", 5000));

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task NpmWs_WithCompression_ExchangesMessages() => await ExchangeAsync("ws", url => RunAsync(NpmClient.StartScript(WsClient, url)));

    [Fact]
    public async Task PythonWebsockets_WithCompression_ExchangesMessages()
    {
        var problem = await PythonClient.FindProblemAsync();
        Assert.SkipUnless(problem is null, problem ?? "");
        await ExchangeAsync("python", url => RunAsync(PythonClient.Start("-c", PythonScript, url)));
    }

    [Fact]
    public async Task Chromium_WithCompression_ExchangesMessages()
    {
        await using var page = await browser.OpenAsync(new Uri(server.Demo.Url, "/chat.html"));
        await ExchangeAsync("chromium", url => page.Page.EvaluateAsync<string>(BrowserClient, url));
    }

    /// <summary>Exchanges two messages between the client and a client without compression.</summary>
    async Task ExchangeAsync(string name, Func<string, Task<string>> connect)
    {
        using var plain = await server.Demo.ConnectAsync($"/rooms/{name}");
        await server.Demo.WaitForCountAsync($"/rooms/{name}", 1);

        var running = connect(server.Demo.GetWebSocketUrl($"/rooms/{name}").AbsoluteUri);
        Assert.Equal(First, await plain.ReceiveTextAsync());
        await plain.SendTextAsync(Second);

        using var result = JsonDocument.Parse(await running.WaitAsync(TestLimits.Wait, Token));
        var items = result.RootElement.EnumerateArray().ToArray();
        Assert.StartsWith("permessage-deflate", items[0].GetString(), StringComparison.Ordinal);
        Assert.Equal([First, Second], items[2..].Select(static item => item.GetString()));
        // Only the client ws reports the number of received bytes.
        Assert.True(items[1].GetInt32() < First.Length / 10, string.Create(CultureInfo.InvariantCulture, $"The client received {items[1]} bytes."));
    }

    static async Task<string> RunAsync(Process process)
    {
        using (process)
        {
            return await process.StandardOutput.ReadLineAsync(Token)
                ?? throw new InvalidOperationException($"The client ended without output. Its errors: {await process.StandardError.ReadToEndAsync(Token)}");
        }
    }

    /// <summary>The demo with compression.</summary>
    public sealed class CompressingServer : IAsyncLifetime
    {
        public DemoServer Demo { get; private set; } = null!;

        public async ValueTask InitializeAsync() => Demo = await DemoServer.CreateAsync("--Broadcast:CompressMessagesAbove=256");

        public ValueTask DisposeAsync() => Demo.DisposeAsync();
    }
}
