using System.Diagnostics;
using System.Globalization;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Tests.Infrastructure;

/// <summary>A Redis server process for one test, with its own port and data directory.</summary>
sealed class RedisServer : IAsyncDisposable
{
    /// <summary>The server program. BROADCAST_TEST_REDIS=/usr/bin/valkey-server selects another program.</summary>
    static readonly string Program =
        Environment.GetEnvironmentVariable("BROADCAST_TEST_REDIS") is { Length: > 0 } program
            ? program
            : "/usr/bin/redis-server";

    readonly string _directory = Directory.CreateTempSubdirectory("broadcast-redis-").FullName;
    readonly string[] _arguments;
    Process? _process;

    RedisServer(int port, string[] arguments) => (Port, _arguments) = (port, arguments);

    public static bool IsInstalled => File.Exists(Program);

    /// <summary>The command-line client in the same folder as the server program.</summary>
    public static string ClientProgram => Program.Replace("-server", "-cli", StringComparison.Ordinal);

    public int Port { get; }

    public string Configuration => $"127.0.0.1:{Port}";

    public static void SkipUnlessInstalled() =>
        Assert.SkipUnless(IsInstalled, $"{Program} is missing. Install redis-server.");

    /// <summary>Creates a server without starting it.</summary>
    public static RedisServer Create(params string[] arguments)
    {
        SkipUnlessInstalled();
        return new(TestPorts.Allocate(), arguments);
    }

    public static async Task<RedisServer> StartNewAsync(params string[] arguments)
    {
        var server = Create(arguments);
        await server.StartAsync();
        return server;
    }

    /// <summary>Starts a replica and waits until it has the data of the master.</summary>
    public static async Task<RedisServer> StartReplicaAsync(RedisServer master)
    {
        var replica = await StartNewAsync("--replicaof", "127.0.0.1", $"{master.Port}");
        await using var connection = await replica.ConnectAsync();
        await TestNode.EventuallyAsync(
            async () => (await connection.GetServers()[0].InfoRawAsync("replication"))!
                .Contains("master_link_status:up", StringComparison.Ordinal),
            "The replica has the data of the master.");
        return replica;
    }

    /// <summary>
    /// Starts a Sentinel that watches one master. The Sentinel needs no agreement with other Sentinels.
    /// </summary>
    public static async Task<RedisServer> StartSentinelAsync(string name, int masterPort)
    {
        var server = Create();
        var file = Path.Combine(server._directory, "sentinel.conf");
        await File.WriteAllTextAsync(
            file,
            $"""
             port {server.Port}
             bind 127.0.0.1
             dir {server._directory}
             sentinel monitor {name} 127.0.0.1 {masterPort} 1
             sentinel down-after-milliseconds {name} 5000
             sentinel failover-timeout {name} 5000

             """);
        server._process = Process.Start(
            new ProcessStartInfo(Program, [file, "--sentinel"]) { RedirectStandardOutput = true })!;
        server._process.OutputDataReceived += static (_, _) => { };
        server._process.BeginOutputReadLine();
        return server;
    }

    /// <summary>
    /// Starts the server on its port. The server is empty, unless its arguments make it store data in its directory.
    /// </summary>
    public async Task StartAsync(params string[] moreArguments)
    {
        string[] common =
        [
            "--port", $"{Port}", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", _directory,
            "--daemonize", "no",
        ];
        _process = Process.Start(new ProcessStartInfo(Program, [.. common, .. _arguments, .. moreArguments])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        })!;
        var ready = new TaskCompletionSource();
        var output = new List<string>();
        _process.OutputDataReceived += (_, line) =>
        {
            lock (output) output.Add(line.Data ?? "(end of output)");
            if (line.Data?.Contains("Ready to accept connections", StringComparison.Ordinal) == true)
                ready.TrySetResult();
            if (line.Data is null)
                ready.TrySetException(new InvalidOperationException(string.Join('\n', output)));
        };
        _process.BeginOutputReadLine();
        _process.BeginErrorReadLine();
        await ready.Task.WaitAsync(TimeSpan.FromSeconds(30));
    }

    public async Task KillAsync()
    {
        if (_process is null) return;
        _process.Kill();
        await _process.WaitForExitAsync();
        _process.Dispose();
        _process = null;
    }

    /// <summary>Deletes the data on disk.</summary>
    public void DeleteData()
    {
        Directory.Delete(_directory, recursive: true);
        Directory.CreateDirectory(_directory);
    }

    /// <summary>Suspends the process. Its connections stay open, but the server does not answer.</summary>
    public Task SuspendAsync() => SendSignalAsync("-STOP");

    public Task ResumeAsync() => SendSignalAsync("-CONT");

    /// <summary>Creates a connection that only the test uses.</summary>
    public Task<ConnectionMultiplexer> ConnectAsync() => ConnectAsync($"{Configuration},allowAdmin=true");

    /// <summary>Creates a connection. On a busy machine, the default timeouts of 5 seconds are too short.</summary>
    public static Task<ConnectionMultiplexer> ConnectAsync(string configuration) =>
        ConnectionMultiplexer.ConnectAsync($"{configuration},connectTimeout=60000,syncTimeout=60000,asyncTimeout=60000");

    /// <summary>Returns the number of executions of a command, including executions inside scripts.</summary>
    /// <param name="connection">A connection from <see cref="ConnectAsync()"/>.</param>
    /// <param name="command">The command in lower case.</param>
    public static async Task<long> GetCallCountAsync(ConnectionMultiplexer connection, string command)
    {
        var stats = await connection.GetServers()[0].InfoRawAsync("commandstats");
        var start = $"cmdstat_{command}:calls=";
        var line = stats!.Split('\n').FirstOrDefault(line => line.StartsWith(start, StringComparison.Ordinal));
        return line is null ? 0 : long.Parse(line[start.Length..].Split(',')[0], CultureInfo.InvariantCulture);
    }

    /// <summary>Waits until no client is subscribed to a channel of the tests.</summary>
    /// <param name="proxy">
    /// The proxy that the test has disconnected. If an UNSUBSCRIBE is lost during a reconnect, Redis keeps the
    /// subscription. Another reconnect restores only the subscriptions that are registered in StackExchange.Redis. So
    /// the method disconnects again every two seconds.
    /// </param>
    public async Task WaitForNoSubscribersAsync(RedisProxy? proxy = null)
    {
        await using var connection = await ConnectAsync();
        var server = connection.GetServers()[0];
        var lastDisconnect = TimeProvider.System.GetTimestamp();
        await TestNode.EventuallyAsync(
            async () =>
            {
                var channels = await server.SubscriptionChannelsAsync(RedisChannel.Pattern("test:*"));
                if (channels.Length == 0) return true;
                if (TimeProvider.System.GetElapsedTime(lastDisconnect) < TimeSpan.FromSeconds(2)) return false;
                proxy?.Disconnect();
                lastDisconnect = TimeProvider.System.GetTimestamp();
                return false;
            },
            "No client is subscribed.");
    }

    public async ValueTask DisposeAsync()
    {
        await KillAsync();
        Directory.Delete(_directory, recursive: true);
    }

    async Task SendSignalAsync(string signal)
    {
        using var kill = Process.Start("/bin/kill", [signal, $"{_process!.Id}"]);
        await kill.WaitForExitAsync();
        Assert.Equal(0, kill.ExitCode);
    }
}
