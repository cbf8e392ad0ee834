using System.Reflection;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.Logging;

namespace Broadcast.Middleware.Tests.Diagnostics;

public sealed class LoggerTests
{
    // The clients send this text in headers and messages. The text has only hexadecimal digits, so that each header and
    // message is valid.
    const string Distinctive = "d15714c71fe";

    [Fact]
    public void LoggerMessages_EventIds_AreUniqueAndPositive()
    {
        var ids = typeof(BroadcastLogger).GetMethods(BindingFlags.Instance | BindingFlags.Static | BindingFlags.Public | BindingFlags.NonPublic)
            .Select(method => method.GetCustomAttribute<LoggerMessageAttribute>())
            .OfType<LoggerMessageAttribute>()
            .Select(attribute => attribute.EventId)
            .ToList();

        Assert.True(ids.Count > 5, "The attributes were not found.");
        Assert.Equal(ids, ids.Distinct());
        Assert.DoesNotContain(ids, id => id <= 0);
    }

    /// <summary>
    /// The test checks only log messages and not log scopes. A scope of the host contains the request path, but each
    /// app decides whether its logs show scopes. Only the warning about an origin contains text of a client.
    /// <c>HandshakeWarningTests</c> tests this warning.
    /// </summary>
    [Fact]
    public async Task LoggerMessages_ClientSendsDistinctiveText_DoNotContainThatText()
    {
        await using var app = await BroadcastApp.StartAsync(
            TestUsers.Add,
            map: app => app.MapBroadcast("/{room}").Use((context, next) =>
                context.Text.StartsWith("fail", StringComparison.Ordinal) ? throw new InvalidOperationException("boom") : next(context)),
            options: options => (options.MaxMessageBytes, options.MaxSmallFragments, options.MaxMessagesPerSecond) = (1_000, 5, 10));
        (string, string?)[] headers =
        [
            ("Origin", null), ("User-Agent", Distinctive), ("X-Custom", Distinctive), ("Cookie", $"a={Distinctive}"),
            TestUsers.As(Distinctive),
        ];

        // The server refuses these handshakes.
        await TryAsync(403, ("Origin", $"https://{Distinctive}.example"));
        await TryAsync(400, ("Sec-WebSocket-Protocol", Distinctive));
        await TryAsync(426, ("Sec-WebSocket-Version", Distinctive));
        await TryAsync(400, ("Sec-WebSocket-Key", Distinctive));
        await TryAsync(400, ("Upgrade", Distinctive));
        await using (var client = await RawClient.ConnectAsync(app))
            Assert.Equal(400, (await client.HandshakeAsync($"/{Distinctive}%0D%0A{Distinctive}", headers)).Status);
        await using (var client = await RawClient.ConnectAsync(app))
            Assert.Equal(400, (await client.HandshakeAsync($"/{Distinctive}{new string('x', 300)}", headers)).Status);

        // The server accepts these handshakes. Then each client ends its connection in a different way.
        await EndAsync(ClientFrame.CreateText(Distinctive), ClientFrame.CreateClose(4000, Distinctive));
        await EndAsync(ClientFrame.CreateText($"fail {Distinctive}"));
        await EndAsync(ClientFrame.CreateText(Distinctive + new string('x', 1_000)));
        await EndAsync([.. Enumerable.Repeat(ClientFrame.CreateText(Distinctive), 50)]);
        await EndAsync([.. Enumerable.Range(0, 10).Select(i => ClientFrame.Make(i == 0 ? ClientFrame.Text : 0, "d15714c71fe"u8, fin: false))]);
        await EndAsync(ClientFrame.Make(ClientFrame.Text, "d15714c71fe"u8, mask: false));
        await EndAsync(ClientFrame.Make(ClientFrame.Text, "d15714c71fe"u8, rsv: 4));
        await EndAsync(ClientFrame.Make(ClientFrame.Text, [.. "d15714c71fe"u8, 0xFF]));
        await EndAsync(ClientFrame.Make(ClientFrame.Close, [0, 1, .. "d15714c71fe"u8]));
        await EndAsync(ClientFrame.Make(ClientFrame.Close, [0x03, 0xE8, 0xFF, .. "d15714c71fe"u8]));
        await EndAsync(ClientFrame.Make(ClientFrame.Ping, "d15714c71fe"u8, fin: false));
        await using (var lost = await OpenAsync())
        {
            await lost.SendAsync(ClientFrame.CreateText(Distinctive));
            lost.Reset();
        }

        await Eventually.True(() => app.Registry.Count == 0);
        var lines = app.Logs.GetSnapshot().Where(record => record.Category == "Broadcast").ToList();
        Assert.Equal(1, lines.RemoveAll(static record => record.Message.Contains("UseForwardedHeaders", StringComparison.Ordinal)));
        Assert.True(lines.Count > 25, $"Too little was logged: {lines.Count} lines.");
        Assert.All(lines, record =>
        {
            Assert.DoesNotContain(Distinctive, record.Message, StringComparison.OrdinalIgnoreCase);
            Assert.DoesNotContain(Distinctive, record.Exception?.ToString() ?? "", StringComparison.OrdinalIgnoreCase);
            foreach (var (_, value) in record.StructuredState ?? []) Assert.DoesNotContain(Distinctive, value ?? "", StringComparison.OrdinalIgnoreCase);
        });
        // Events that clients cause have the level Debug. The exception of the filter is an error of the app.
        Assert.Equal(1, lines.RemoveAll(static record => record.Level == LogLevel.Warning && record.Message.Contains("RawSubprotocols", StringComparison.Ordinal)));
        Assert.All(lines, record => Assert.Equal(record.Exception?.Message == "boom" ? LogLevel.Error : LogLevel.Debug, record.Level));
        Assert.Single(lines, record => record.Level == LogLevel.Error);

        async Task TryAsync(int status, params (string, string?)[] own)
        {
            await using var client = await RawClient.ConnectAsync(app);
            Assert.Equal(status, (await client.HandshakeAsync($"/{Distinctive}", [.. headers, .. own])).Status);
        }

        async Task<RawClient> OpenAsync()
        {
            var client = await RawClient.ConnectAsync(app);
            Assert.Equal(101, (await client.HandshakeAsync($"/{Distinctive}", headers)).Status);
            return client;
        }

        async Task EndAsync(params ReadOnlyMemory<byte>[] frames)
        {
            await using var client = await OpenAsync();
            await client.SendAsync(frames);
            await client.ClosedWithAsync();
        }
    }
}
