using Broadcast.Redis.Benchmarks;

// dotnet run -c Release --project benchmarks/Broadcast.Redis.Benchmarks -- hop
const string Usage = """
    What Redis costs. Starts a redis-server of its own, which keeps nothing; loads this machine only.

      hop         latency from a publish on one node to another one: Redis alone, this library, SignalR, with a backplane and without
      publishes   publishes per second through one Redis: the same
      nodes       latency, and what a message costs Redis and each of 1, 2 and 4 nodes, which are processes of their own
      idle        what a node costs that has nothing to do

      --rounds 5           everything is measured so often, in turn; printed is the median, [least..most]
      --seconds 3          how long each measurement takes; idle: 12
      --rates 1000,10000   hop: messages a second; nodes: the first of them
      --connections 200    nodes: spread over all nodes
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
    Console.WriteLine($"{Environment.ProcessorCount} processors, .NET {Environment.Version}, Redis {server.Version}; {settings.Rounds} rounds in turn and one to warm up; median [least..most]");
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
    // Not unhandled, for then the server would stay.
    Console.Error.WriteLine(exception);
    return 1;
}
