using System.Globalization;
using Broadcast.Soak;

// Loads the demo for several minutes. Clients connect, close, abort and read slowly.
// The test fails if a client misses a message without a notice, if a count of the server is wrong, or if the memory of the server grows.
//   dotnet Broadcast.Soak.dll PATH-TO-WebDemo.dll [MINUTES] [CLIENTS] [N: EVERY NTH CLIENT IS SLOW, 0 FOR NONE]
var demo = args[0];
var minutes = args.Length > 1 ? double.Parse(args[1], CultureInfo.InvariantCulture) : 5;
var count = args.Length > 2 ? int.Parse(args[2], CultureInfo.InvariantCulture) : 2000;

var slowInterval = args.Length > 3 ? int.Parse(args[3], CultureInfo.InvariantCulture) : 10;

const double ChurnPerMinute = 0.2;

using var server = Server.Start(demo);
await server.WaitUntilReadyAsync();
using var http = new HttpClient { BaseAddress = server.Address };
var random = new Random(1);
var clients = new List<Client>();
for (var i = 0; i < count; i++) clients.Add(await Client.ConnectAsync(server.Address, isSlow: slowInterval > 0 && i % slowInterval == 0));
Console.WriteLine($"Clients: {count}. One in {slowInterval} is slow. Duration: {minutes} minutes.");

using var publisher = new Publisher(http);
var memory = new List<long>();
var (ended, closedAsSlow, problems) = (0, 0, new List<string>());
var started = DateTime.UtcNow;
var lastSample = started;
while (DateTime.UtcNow - started < TimeSpan.FromMinutes(minutes))
{
    await publisher.PublishAsync();

    // Random clients leave, with or without a close frame. Replace these clients, and the slow clients that the server has closed.
    var leaving = count * ChurnPerMinute / 60 / Publisher.PerSecond;
    for (var i = 0; i < clients.Count; i++)
    {
        var client = clients[i];
        var leaves = random.NextDouble() < leaving / clients.Count;
        if (!leaves && !client.HasEnded) continue;
        if (client.HasEnded && !client.IsSlow) problems.Add($"The server closed a fast client: {client.End}");
        if (client.HasEnded) closedAsSlow++;
        await client.LeaveAsync(sendsClose: random.Next(2) == 0);
        ended++;
        if (client.Problem is { } problem) problems.Add(problem);
        clients[i] = await Client.ConnectAsync(server.Address, client.IsSlow);
    }

    if (DateTime.UtcNow - lastSample < TimeSpan.FromSeconds(5)) continue;
    lastSample = DateTime.UtcNow;
    memory.Add(server.ResidentKilobytes);
    Console.WriteLine($"{lastSample - started:mm\\:ss}  {memory[^1] / 1024} MB  published {publisher.Count}, ended {ended}, closed as slow {closedAsSlow}");
}

// The last message must reach every fast client.
await publisher.FinishAsync();
foreach (var client in clients.Where(client => !client.IsSlow))
{
    if (!await client.HasReceivedAsync(publisher.Count)) problems.Add($"A client has not received the last message: {client}");
}

var counted = int.Parse((await http.GetStringAsync("/count")).Split(':')[1].TrimEnd('}'), CultureInfo.InvariantCulture);

// A slow client may not have noticed yet that the server has closed its connection.
var (min, max) = (clients.Count(client => !client.IsSlow && !client.HasEnded), clients.Count(client => !client.HasEnded));
if (counted < min || counted > max) problems.Add($"The server counts {counted} connections. Expected {min} to {max}.");
foreach (var client in clients)
{
    await client.LeaveAsync(sendsClose: true);
    if (client.Problem is { } problem) problems.Add(problem);
}

if (!await server.WaitUntilEmptyAsync(http)) problems.Add("The connection count has not returned to zero.");

// The first third of the samples is warm-up. The median of the last third must exceed the median of the second third by at most 10 %.
var third = memory.Count / 3;
var (middle, end) = (Median(memory[third..(2 * third)]), Median(memory[(2 * third)..]));
Console.WriteLine($"Median memory: {middle / 1024} MB in the second third, {end / 1024} MB in the last third.");
if (end > middle * 1.1) problems.Add("The memory of the server grows.");
if (server.Errors is { Length: > 0 } errors) problems.Add($"The server has logged errors: {errors}");
Console.WriteLine($"Messages: {publisher.Count}. Connections: {ended + clients.Count}. Closed as slow: {closedAsSlow}.");
foreach (var problem in problems.Take(20)) Console.WriteLine($"PROBLEM: {problem}");
Console.WriteLine(problems.Count == 0 ? "soak: passed" : $"soak: {problems.Count} problems");
return problems.Count == 0 ? 0 : 1;

static long Median(List<long> values) => values.Count == 0 ? 0 : values.Order().ElementAt(values.Count / 2);
