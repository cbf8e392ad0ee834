namespace WebDemo.Tests;

/// <summary>
/// Tests a browser that requests subprotocols. The browser closes the connection if the answer contains none of the requested
/// subprotocols.
/// </summary>
[Collection<PageCollection>]
public sealed class SubprotocolTests(DemoServer server, BrowserFixture browser)
{
    [Fact]
    public async Task WebSocket_ListedSubprotocol_OpensAndStaysRaw()
    {
        await using var own = await DemoServer.CreateAsync("--Broadcast:RawSubprotocols:0=chat", "--Broadcast:RawSubprotocols:1=bearer");
        await using var page = await browser.OpenAsync(new Uri(own.Url, "/count"));
        Assert.Equal("chat: hello, 3 bytes", await ConnectAsync(page, "chat"));
        Assert.Equal("bearer: hello, 3 bytes", await ConnectAsync(page, "bearer", "eyJhbGciOiJub25lIn0.e30."));
        Assert.Equal(": hello, 3 bytes", await ConnectAsync(page));
    }

    [Fact]
    public async Task WebSocket_UnknownSubprotocol_FailsWithWarning()
    {
        await using var page = await browser.OpenAsync(new Uri(server.Url, "/count"));
        Assert.Equal("closed with 1006", await ConnectAsync(page, "chat"));
        page.ForgetErrors();
        await server.WaitForOutputAsync("RawSubprotocols");
    }

    /// <summary>
    /// Sends a text and three bytes to the client's own group. Returns the accepted subprotocol and the data that the
    /// page received.
    /// </summary>
    static Task<string> ConnectAsync(DemoPage page, params string[] subprotocols) => page.Page.EvaluateAsync<string>("""
        subprotocols => new Promise(resolve => {
            const socket = new WebSocket(`ws://${location.host}/ws`, subprotocols)
            socket.binaryType = 'arraybuffer'
            let text
            socket.onopen = () => {
                socket.send('hello')
                socket.send(new Uint8Array([0, 255, 7]))
            }
            socket.onmessage = event => {
                if (typeof event.data === 'string') text = event.data
                else {
                    resolve(`${socket.protocol}: ${text}, ${event.data.byteLength} bytes`)
                    socket.onclose = null
                    socket.close()
                }
            }
            socket.onclose = event => resolve(`closed with ${event.code}`)
        })
        """, subprotocols);
}
