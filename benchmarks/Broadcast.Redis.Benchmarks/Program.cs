using Broadcast.Redis.Benchmarks;

// dotnet run -c Release --project benchmarks/Broadcast.Redis.Benchmarks -- hop
const string Usage = """
    This program measures the cost of Redis. It starts a redis-server without persistence. All load stays on this machine.

      hop         latency from a publish on one node to another node: Redis alone, this library and SignalR, with and without a backplane
      publishes   publishes per second through one Redis server: Redis alone, this library and SignalR
      nodes       latency and CPU time per message of Redis and of 1, 2 and 4 nodes, which are separate processes
      idle        cost of a node without messages

      --rounds 5           number of rounds; prints the median [minimum..maximum]
      --seconds 3          duration of each measurement; the default for idle is 12
      --rates 1000,10000   messages per second for hop; nodes uses the first rate
      --connections 200    number of connections over all nodes, for nodes
    """;

if (args is [NodeProcess.Command, var redis])
{
    await NodeProcess.RunAsync(redis);
    return 0;
}

if (!Settings.TryRead(args, out var command, out var settings))
{
    Console.Error.WriteLine(Usage);
    return 2;
}

try
{
    await using var server = await RedisServer.StartAsync();
    Console.WriteLine($"{Environment.ProcessorCount} processors, .NET {Environment.Version}, Redis {server.Version}; {settings.Rounds} rounds after one warm-up round; median [minimum..maximum]");
    await (command switch
    {
        "hop" => Hop.RunAsync(server, settings),
        "publishes" => Publishes.RunAsync(server, settings),
        "nodes" => Nodes.RunAsync(server, settings),
        _ => Idle.RunAsync(server, settings),
    });
    return 0;
}
catch (Exception exception)
{
    // Catch the exception, because an unhandled exception would end the program before the server is disposed.
    Console.Error.WriteLine(exception);
    return 1;
}
