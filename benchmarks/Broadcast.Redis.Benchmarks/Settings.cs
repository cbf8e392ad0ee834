using System.Globalization;

namespace Broadcast.Redis.Benchmarks;

/// <summary>The settings from the command line.</summary>
sealed record Settings(int Rounds, TimeSpan Duration, int[] Rates, int Connections)
{
    public static bool TryRead(string[] args, out string command, out Settings settings)
    {
        command = args is [var first, ..] ? first : "";
        settings = new(5, TimeSpan.FromSeconds(command == "idle" ? 12 : 3), [1000, 10_000], 200);
        if (command is not ("hop" or "publishes" or "nodes" or "idle") || args.Length % 2 == 0) return false;
        for (var i = 1; i < args.Length; i += 2)
        {
            var values = args[i + 1].Split(',').Select(static text => int.TryParse(text, CultureInfo.InvariantCulture, out var value) ? value : 0).ToArray();
            if (values.Any(static value => value < 1)) return false;
            switch (args[i])
            {
                case "--rounds":
                    settings = settings with { Rounds = values[0] };
                    break;
                case "--seconds":
                    settings = settings with { Duration = TimeSpan.FromSeconds(values[0]) };
                    break;
                case "--rates":
                    settings = settings with { Rates = values };
                    break;
                case "--connections":
                    settings = settings with { Connections = values[0] };
                    break;
                default:
                    return false;
            }
        }

        return true;
    }
}
