using System.Globalization;
using Broadcast.Soak;

// Loads the demo for some minutes, with clients that come, go, break off and dawdle, and checks that nobody misses a message
// unknowingly, that the server counts right, and that its memory stays where it is.
//   dotnet Broadcast.Soak.dll PATH-TO-WebDemo.dll [MINUTES] [CLIENTS] [ONE IN SO MANY IS SLOW, 0 FOR NONE]
var demo = args[0];
var minutes = args.Length > 1 ? double.Parse(args[1], CultureInfo.InvariantCulture) : 5;
var count = args.Length > 2 ? int.Parse(args[2], CultureInfo.InvariantCulture) : 2000;

var everyNthIsSlow = args.Length > 3 ? int.Parse(args[3], CultureInfo.InvariantCulture) : 10;

const double ChurnPerMinute = 0.2;

using var server = Server.Start(demo);
await server.IsUp();
using var http = new HttpClient { BaseAddress = server.Address };
var random = new Random(1);
var clients = new List<Client>();
for (var i = 0; i < count; i++) clients.Add(await Client.ConnectAsync(server.Address, isSlow: everyNthIsSlow > 0 && i % everyNthIsSlow == 0));
Console.WriteLine($"{count} clients, one in {everyNthIsSlow} slow; {minutes} minutes");

using var publisher = new Publisher(http);
var memory = new List<long>();
var (ended, told, problems) = (0, 0, new List<string>());
var started = DateTime.UtcNow;
var lastSample = started;
while (DateTime.UtcNow - started < TimeSpan.FromMinutes(minutes))
{
    await publisher.PublishAsync();

    // Those who are to go, in both ways in which clients go; and those who were closed for being slow. Each is replaced.
    var leaving = count * ChurnPerMinute / 60 / Publisher.PerSecond;
    for (var i = 0; i < clients.Count; i++)
    {
        var client = clients[i];
        var goes = random.NextDouble() < leaving / clients.Count;
        if (!goes && !client.HasEnded) continue;
        if (client.HasEnded && !client.IsSlow) problems.Add($"A client that keeps up was closed: {client.End}");
        if (client.HasEnded) told++;
        await client.LeaveAsync(politely: random.Next(2) == 0);
        ended++;
        if (client.Problem is { } problem) problems.Add(problem);
        clients[i] = await Client.ConnectAsync(server.Address, client.IsSlow);
    }

    if (DateTime.UtcNow - lastSample < TimeSpan.FromSeconds(5)) continue;
    lastSample = DateTime.UtcNow;
    memory.Add(server.ResidentKilobytes);
    Console.WriteLine($"{lastSample - started:mm\\:ss}  {memory[^1] / 1024} MB  published {publisher.Count}, ended {ended}, of them told {told}");
}

// What was published last reaches those who keep up.
await publisher.FinishAsync();
foreach (var client in clients.Where(client => !client.IsSlow))
{
    if (!await client.HasHeardAsync(publisher.Count)) problems.Add($"The last message did not come: {client}");
}

var counted = int.Parse((await http.GetStringAsync("/count")).Split(':')[1].TrimEnd('}'), CultureInfo.InvariantCulture);

// A slow one that was cut off may not have come to that yet.
var (atLeast, atMost) = (clients.Count(client => !client.IsSlow && !client.HasEnded), clients.Count(client => !client.HasEnded));
if (counted < atLeast || counted > atMost) problems.Add($"The server counts {counted}; the clients, {atLeast} to {atMost}.");
foreach (var client in clients)
{
    await client.LeaveAsync(politely: true);
    if (client.Problem is { } problem) problems.Add(problem);
}

if (!await server.CountsNobody(http)) problems.Add("The count does not return to zero.");

// The first third warms up. The rest may rise and fall, but the last third may not stand above the second.
var third = memory.Count / 3;
var (middle, end) = (Median(memory[third..(2 * third)]), Median(memory[(2 * third)..]));
Console.WriteLine($"memory: median {middle / 1024} MB in the second third, {end / 1024} MB in the last");
if (end > middle * 1.1) problems.Add("The server's memory grows.");
if (server.Errors is { Length: > 0 } errors) problems.Add($"The server's log has errors: {errors}");
Console.WriteLine($"{publisher.Count} messages, {ended + clients.Count} connections, {told} told that they were too slow");
foreach (var problem in problems.Take(20)) Console.WriteLine($"PROBLEM: {problem}");
Console.WriteLine(problems.Count == 0 ? "soak: passed" : $"soak: {problems.Count} problems");
return problems.Count == 0 ? 0 : 1;

static long Median(List<long> values) => values.Count == 0 ? 0 : values.Order().ElementAt(values.Count / 2);
