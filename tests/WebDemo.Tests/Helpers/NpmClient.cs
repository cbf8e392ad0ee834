using System.Collections.Concurrent;
using System.Diagnostics;
using System.Reflection;
using System.Text;
using System.Text.Json;
using System.Threading.Channels;

namespace WebDemo.Tests;

/// <summary>
/// Runs one <c>@azure/web-pubsub-client</c> from npm in its own Node.js process. The environment variable NODE selects the
/// Node.js program.
/// </summary>
/// <remarks>A test calls the methods of the client by name and reads its events in order.</remarks>
sealed class NpmClient : IAsyncDisposable
{
    public const string Plain = "plain";
    public const string Reliable = "reliable";

    static readonly string Node = Environment.GetEnvironmentVariable("NODE") ?? "node";

    /// <summary>The folder of the npm packages.</summary>
    public static readonly string Folder =
        typeof(NpmClient).Assembly.GetCustomAttributes<AssemblyMetadataAttribute>().Single(static attribute => attribute.Key == "NpmFolder").Value!;

    static readonly Lazy<string?> Problem = new(FindProblem);

    readonly Process _process;
    readonly Channel<JsonElement> _events = Channel.CreateUnbounded<JsonElement>();
    readonly ConcurrentDictionary<int, TaskCompletionSource<JsonElement>> _calls = new();
    readonly StringBuilder _errors = new();
    readonly Task _reading;
    int _lastCallId;

    NpmClient(Uri url, string protocol, object? options)
    {
        _process = Start("client.mjs", url.AbsoluteUri, protocol, JsonSerializer.Serialize(options ?? new { }));
        _process.ErrorDataReceived += (_, line) =>
        {
            lock (_errors) _errors.AppendLine(line.Data);
        };
        _process.BeginErrorReadLine();
        _reading = ReadOutputAsync();
    }

    /// <summary>The connection ID of the first <c>connected</c> event.</summary>
    public string ConnectionId { get; private set; } = "";

    /// <summary>Starts a client and waits until it is connected. Skips the test if the client is not installed.</summary>
    /// <param name="server">The URL of the demo, or of a proxy for it.</param>
    /// <param name="protocol"><see cref="Plain"/> or <see cref="Reliable"/>.</param>
    /// <param name="options">The options for <c>new WebPubSubClient(url, options)</c>.</param>
    public static async Task<NpmClient> ConnectAsync(Uri server, string protocol, object? options = null)
    {
        SkipIfMissing();
        var client = new NpmClient(new UriBuilder(server) { Scheme = "ws", Path = "/ws" }.Uri, protocol, options);
        await client.CallAsync("start");
        client.ConnectionId = (await client.NextEventAsync("connected")).GetProperty("connectionId").GetString()!;
        return client;
    }

    /// <summary>Starts a script that can import the installed packages. Skips the test if the packages are not installed.</summary>
    public static Process StartScript(string script, params string[] arguments)
    {
        SkipIfMissing();
        return Start(["--input-type=module", "--eval", script, .. arguments]);
    }

    public async Task JoinAsync(string group) => await CallAsync("joinGroup", group);

    /// <summary>Calls a method of the client. Throws an <see cref="NpmClientException"/> if the method throws.</summary>
    public async Task<JsonElement> CallAsync(string method, params object?[] arguments)
    {
        var id = Interlocked.Increment(ref _lastCallId);
        var completion = _calls[id] = new TaskCompletionSource<JsonElement>(TaskCreationOptions.RunContinuationsAsynchronously);
        if (_reading.IsCompleted) throw CreateExitException();
        await _process.StandardInput.WriteLineAsync(JsonSerializer.Serialize(new { id, call = method, args = arguments }));
        await _process.StandardInput.FlushAsync(TestContext.Current.CancellationToken);
        var response = await completion.Task.WaitAsync(TestLimits.Wait, TestContext.Current.CancellationToken);
        return response.TryGetProperty("error", out var error) ? throw new NpmClientException(error) : response.GetProperty("result");
    }

    /// <summary>Returns the name and arguments of the next event.</summary>
    public async Task<(string Name, JsonElement Arguments)> NextEventAsync()
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        limit.CancelAfter(TestLimits.Wait);
        var next = await _events.Reader.ReadAsync(limit.Token);
        return (next.GetProperty("event").GetString()!, next.GetProperty("args"));
    }

    /// <summary>Asserts the name of the next event and returns its arguments.</summary>
    public async Task<JsonElement> NextEventAsync(string expectedName)
    {
        var (name, arguments) = await NextEventAsync();
        Assert.True(name == expectedName, $"Expected the event {expectedName}, but got {name} with {arguments}.");
        return arguments;
    }

    /// <summary>Asserts that the next event is a message that another client has sent to a group. Returns the message.</summary>
    public async Task<JsonElement> NextGroupMessageAsync() => (await NextEventAsync("group-message")).GetProperty("message");

    /// <summary>Asserts that the next event is a message from the app or a raw client. Returns the message.</summary>
    public async Task<JsonElement> NextServerMessageAsync() => (await NextEventAsync("server-message")).GetProperty("message");

    /// <summary>Asserts that the next event is this text in this group.</summary>
    public async Task AssertNextGroupMessageAsync(string group, string text)
    {
        var message = await NextGroupMessageAsync();
        Assert.Equal((group, text), (message.GetProperty("group").GetString(), message.GetProperty("data").ToString()));
    }

    public void AssertNoMoreEvents() => Assert.False(_events.Reader.TryRead(out var next), $"Expected no more events, but got {next}.");

    public async ValueTask DisposeAsync()
    {
        _process.Kill();
        await _reading;
        _process.Dispose();
    }

    static void SkipIfMissing() => Assert.SkipUnless(Problem.Value is null, Problem.Value ?? "");

    static string? FindProblem()
    {
        if (!Directory.Exists(Path.Combine(Folder, "node_modules"))) return $"The client is not installed. Run npm ci in {Folder}.";
        try
        {
            using var version = Start("--version");
            return null;
        }
        catch (System.ComponentModel.Win32Exception exception)
        {
            return $"{Node} does not start: {exception.Message}. On Debian, run apt install nodejs.";
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

    async Task ReadOutputAsync()
    {
        while (await _process.StandardOutput.ReadLineAsync() is { } text)
        {
            var line = JsonSerializer.Deserialize<JsonElement>(text);
            if (line.TryGetProperty("id", out var id)) _calls[id.GetInt32()].SetResult(line);
            else _events.Writer.TryWrite(line);
        }

        await _process.WaitForExitAsync();
        _events.Writer.Complete(CreateExitException());
        foreach (var call in _calls.Values) call.TrySetException(CreateExitException());
    }

    InvalidOperationException CreateExitException()
    {
        lock (_errors) return new InvalidOperationException($"The npm client has exited. Its errors:\n{_errors}");
    }
}
