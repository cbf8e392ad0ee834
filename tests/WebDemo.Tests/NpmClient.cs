using System.Collections.Concurrent;
using System.Diagnostics;
using System.Reflection;
using System.Text;
using System.Text.Json;
using System.Threading.Channels;

namespace WebDemo.Tests;

/// <summary>
/// npm's <c>@azure/web-pubsub-client</c>, under the Node.js that the environment variable NODE names, or that of the path. Its methods are
/// called and its events are read from here.
/// </summary>
sealed class NpmClient : IAsyncDisposable
{
    public const string Plain = "plain";
    public const string Reliable = "reliable";

    static readonly TimeSpan Limit = TimeSpan.FromSeconds(20);
    static readonly string Node = Environment.GetEnvironmentVariable("NODE") ?? "node";

    static readonly string Folder =
        typeof(NpmClient).Assembly.GetCustomAttributes<AssemblyMetadataAttribute>().Single(static attribute => attribute.Key == "NpmFolder").Value!;

    readonly Process _process;
    readonly Channel<JsonElement> _events = Channel.CreateUnbounded<JsonElement>();
    readonly ConcurrentDictionary<int, TaskCompletionSource<JsonElement>> _calls = new();
    readonly StringBuilder _errors = new();
    readonly Task _reading;
    int _lastCall;

    NpmClient(Uri url, string protocol, object? options)
    {
        _process = Start("client.mjs", url.AbsoluteUri, protocol, JsonSerializer.Serialize(options ?? new { }));
        _process.ErrorDataReceived += (_, line) =>
        {
            lock (_errors) _errors.AppendLine(line.Data);
        };
        _process.BeginErrorReadLine();
        _reading = ReadAsync();
    }

    /// <summary>Started, and said to be connected. Skips the test where the client is not installed.</summary>
    /// <param name="server">Where the demo is, or a line to it.</param>
    /// <param name="protocol">Which.</param>
    /// <param name="options">As <c>new WebPubSubClient(url, options)</c> takes them.</param>
    public static async Task<NpmClient> ConnectAsync(Uri server, string protocol, object? options = null)
    {
        var problem = Problem();
        Assert.SkipUnless(problem is null, problem ?? "");
        var client = new NpmClient(new UriBuilder(server) { Scheme = "ws", Path = "/ws" }.Uri, protocol, options);
        await client.CallAsync("start");
        client.ConnectionId = (await client.NextAsync("connected")).GetProperty("connectionId").GetString()!;
        return client;
    }

    /// <summary>As the first <c>connected</c> said.</summary>
    public string ConnectionId { get; private set; } = "";

    public async Task JoinAsync(string group) => await CallAsync("joinGroup", group);

    /// <summary>As the client's method of this name; fails as it does, with an <see cref="NpmException"/>.</summary>
    public async Task<JsonElement> CallAsync(string method, params object?[] arguments)
    {
        var id = Interlocked.Increment(ref _lastCall);
        var answer = _calls[id] = new TaskCompletionSource<JsonElement>(TaskCreationOptions.RunContinuationsAsynchronously);
        if (_reading.IsCompleted) throw Ended();
        await _process.StandardInput.WriteLineAsync(JsonSerializer.Serialize(new { id, call = method, args = arguments }));
        await _process.StandardInput.FlushAsync(TestContext.Current.CancellationToken);
        var line = await answer.Task.WaitAsync(Limit, TestContext.Current.CancellationToken);
        return line.TryGetProperty("error", out var error) ? throw new NpmException(error) : line.GetProperty("result");
    }

    /// <summary>What the next event brings, which is this one.</summary>
    public async Task<JsonElement> NextAsync(string expected)
    {
        var (name, arguments) = await NextAsync();
        Assert.True(name == expected, $"Not {expected}, but {name}: {arguments}");
        return arguments;
    }

    /// <summary>The next event, whatever it is, and what it brings.</summary>
    public async Task<(string Name, JsonElement Arguments)> NextAsync()
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        limit.CancelAfter(Limit);
        var next = await _events.Reader.ReadAsync(limit.Token);
        return (next.GetProperty("event").GetString()!, next.GetProperty("args"));
    }

    /// <summary>The next message, which is from a group.</summary>
    public async Task<JsonElement> NextGroupMessageAsync() => (await NextAsync("group-message")).GetProperty("message");

    /// <summary>The next message, which is from the app or a raw client.</summary>
    public async Task<JsonElement> NextServerMessageAsync() => (await NextAsync("server-message")).GetProperty("message");

    /// <summary>The next event is this text, sent to this group.</summary>
    public async Task SeesAsync(string group, string text)
    {
        var message = await NextGroupMessageAsync();
        Assert.Equal((group, text), (message.GetProperty("group").GetString(), message.GetProperty("data").ToString()));
    }

    public void SeesNothingMore() => Assert.False(_events.Reader.TryRead(out var next), $"There is one more: {next}");

    public async ValueTask DisposeAsync()
    {
        _process.Kill();
        await _reading;
        _process.Dispose();
    }

    static string? Problem()
    {
        if (!Directory.Exists(Path.Combine(Folder, "node_modules"))) return $"The client is not installed: run npm ci in {Folder}.";
        try
        {
            using var version = Start("--version");
            return null;
        }
        catch (System.ComponentModel.Win32Exception exception)
        {
            return $"{Node} does not start: {exception.Message}. On Debian, apt install nodejs.";
        }
    }

    static Process Start(params string[] arguments) => Process.Start(new ProcessStartInfo(Node, arguments)
    {
        WorkingDirectory = Folder,
        RedirectStandardInput = true,
        RedirectStandardOutput = true,
        RedirectStandardError = true,
        StandardInputEncoding = new UTF8Encoding(encoderShouldEmitUTF8Identifier: false),
        StandardOutputEncoding = Encoding.UTF8,
    })!;

    async Task ReadAsync()
    {
        while (await _process.StandardOutput.ReadLineAsync() is { } text)
        {
            var line = JsonSerializer.Deserialize<JsonElement>(text);
            if (line.TryGetProperty("id", out var id)) _calls[id.GetInt32()].SetResult(line);
            else _events.Writer.TryWrite(line);
        }

        await _process.WaitForExitAsync();
        _events.Writer.Complete(Ended());
        foreach (var call in _calls.Values) call.TrySetException(Ended());
    }

    InvalidOperationException Ended()
    {
        lock (_errors) return new InvalidOperationException($"The client has ended:\n{_errors}");
    }
}

/// <summary>What a method of the client threw.</summary>
sealed class NpmException(JsonElement error) : Exception(error.ToString())
{
    /// <summary>As the server's acknowledgement says it: Forbidden, BadRequest…</summary>
    public string? Name => error.TryGetProperty("detail", out var detail) ? detail.GetProperty("name").GetString() : null;
}
