using System.Diagnostics;
using System.Globalization;
using Broadcast.Middleware;

namespace Broadcast.Benchmarks;

/// <summary>
/// Measures the CPU time that the server needs for each message and member, with and without subscription filters. Each
/// filter accepts 10 % of the messages. The numbers include the rejected messages.
/// </summary>
static class SubscriptionFilterCost
{
    public const int Members = 200;

    const int Values = 10;
    const int Rounds = 5;

    static readonly Recipients Group = Recipients.Group("/ws");

    static readonly (string Name, Func<int, SubscriptionFilter?> FilterOf, bool HasTags)[] Cases =
    [
        ("no filter, no tags", static _ => null, false),
        ("no filter, tags", static _ => null, true),
        ("region = one of 10 (10 filters)", static member => SubscriptionFilter.TagEquals("region", $"r{member % Values}"), true),
        ("one of 10 and not ... (200 filters)", static member => SubscriptionFilter.Parse(
            $"region in (r{member % Values}, x{member}) and kind != test and not (symbol = a{member} or symbol = b{member})"), true),
        ("delegate", static member => DelegateOf($"r{member % Values}"), true),
    ];

    /// <summary>Runs the measurement and prints the results.</summary>
    /// <param name="isQuick">True to measure with fewer messages.</param>
    /// <param name="isPlain">
    /// True to measure only the case without filters and tags, for example to compare two versions.
    /// </param>
    public static void Run(bool isQuick, bool isPlain)
    {
        var cases = isPlain ? Cases[..1] : Cases;
        foreach (var usesSockets in new[] { true, false })
        {
            foreach (var pace in isPlain ? [1, 8, 64] : new[] { 1, 1_000 })
            {
                var messages = (isQuick ? 2_000 : 20_000) * (pace > 1 && !usesSockets ? 5 : 1);
                var results = new double[cases.Length][];
                for (var i = 0; i < cases.Length; i++) results[i] = new double[Rounds];
                // The rounds alternate between the cases, so that other load affects all cases.
                for (var round = 0; round < Rounds; round++)
                {
                    for (var i = 0; i < cases.Length; i++)
                        results[i][round] = Measure(cases[i].FilterOf, cases[i].HasTags, usesSockets, pace, messages);
                }

                Console.WriteLine();
                Console.WriteLine($"{(usesSockets ? "sockets" : "memory")}, {pace} at a time: ns of CPU per message and member, median of {Rounds}");
                var first = Median(results[0]);
                for (var i = 0; i < cases.Length; i++)
                {
                    var median = Median(results[i]);
                    Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"  {cases[i].Name,-38} {median,8:F1}  {median / first,5:F2}x"));
                }
            }
        }
    }

    static SubscriptionFilter DelegateOf(string region) =>
        SubscriptionFilter.FromDelegate(message => message.Tags?["region"] == region);

    static double Median(double[] values) => values.Order().ElementAt(values.Length / 2);

    static double Measure(Func<int, SubscriptionFilter?> filterOf, bool hasTags, bool usesSockets, int pace, int messages)
    {
        using var reader = usesSockets ? new SocketReader() : null;
        using var broadcast = new InMemoryBroadcast(static options => options.MaxBacklogBytes = 1 << 29);
        for (var i = 0; i < Members; i++) broadcast.Connect("/ws", filterOf(i), reader?.Accept());
        var isFiltered = filterOf(0) is not null;
        var tags = Enumerable.Range(0, Values).Select(static i => MessageTags.Create(
            ("region", $"r{i}"), ("symbol", "ACME"), ("kind", "trade"))).ToArray();
        var payload = new byte[120];
        Publish(messages / 10);
        var process = Process.GetCurrentProcess();
        var before = process.TotalProcessorTime;
        Publish(messages);
        process.Refresh();
        return (process.TotalProcessorTime - before).TotalNanoseconds / messages / Members;

        void Publish(int count)
        {
            for (var sent = 0; sent < count; sent += pace)
            {
                broadcast.AnnounceDeliveries((isFiltered ? Members / Values : Members) * pace);
                for (var i = sent; i < sent + pace; i++)
                    broadcast.Publish(new Message(payload, MessageType.Binary) { Tags = hasTags ? tags[i % Values] : null }, Group);
                broadcast.WaitForAnnouncedDeliveries();
            }
        }
    }
}
