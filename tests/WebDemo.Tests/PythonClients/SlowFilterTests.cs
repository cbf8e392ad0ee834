using System.Diagnostics;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.Extensions.DependencyInjection;

namespace WebDemo.Tests;

/// <summary>
/// Tests the Python package websockets. Its client closes the connection if the server does not answer pings.
/// </summary>
public sealed class SlowFilterTests
{
    const string Client = """
        import asyncio, sys, websockets

        async def main():
            async with websockets.connect(sys.argv[1], ping_interval=1, ping_timeout=20) as socket:
                await socket.send('slow')
                for _ in range(3):
                    await asyncio.wait_for(await socket.ping(), 20)
                    print('pong', flush=True)
                print(await socket.recv(), flush=True)

        asyncio.run(main())
        """;

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task PythonClient_SlowFilter_ReceivesPongsAndThenMessage()
    {
        var problem = await PythonClient.FindProblemAsync();
        Assert.SkipUnless(problem is null, problem ?? "");
        var released = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var builder = WebApplication.CreateSlimBuilder();
        builder.WebHost.UseSetting("urls", "http://127.0.0.1:0");
        builder.Services.AddBroadcast();
        await using var app = builder.Build();
        app.MapBroadcast("/ws").Use(async (context, next) =>
        {
            await released.Task.WaitAsync(Token);
            await next(context);
        });
        await app.StartAsync(Token);
        var address = app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.Single();

        using var client = PythonClient.Start("-c", Client, address.Replace("http", "ws", StringComparison.Ordinal) + "/ws");
        for (var i = 0; i < 3; i++) Assert.Equal("pong", await ReadLineAsync(client));
        released.SetResult();

        Assert.Equal("slow", await ReadLineAsync(client));
        await client.WaitForExitAsync(Token);
        Assert.Equal(0, client.ExitCode);
    }

    static async Task<string?> ReadLineAsync(Process client) =>
        await client.StandardOutput.ReadLineAsync(Token)
        ?? $"The client has printed no line. Its errors: {await client.StandardError.ReadToEndAsync(Token)}";
}
