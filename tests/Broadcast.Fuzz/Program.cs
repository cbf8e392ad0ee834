using Broadcast.Fuzz;
using SharpFuzz;

// The first byte of an input selects the target. The other bytes are the input of the target.
// Without arguments, the program runs under afl-fuzz and reads one input after another.
// With arguments, the program runs the inputs in the named files. Use such a run to debug a crash that afl-fuzz found.
if (args.Length == 0)
{
    Fuzzer.OutOfProcess.Run(stream =>
    {
        using var input = new MemoryStream();
        stream.CopyTo(input);
        Run(input.ToArray());
    });
}

foreach (var file in args) Run(File.ReadAllBytes(file));

static void Run(byte[] input)
{
    if (input.Length == 0) return;
    var rest = input.AsMemory(1);
    switch (input[0] % 6)
    {
        case 0:
            HeaderTarget.Origin(rest.Span);
            break;
        case 1:
            HeaderTarget.GroupName(rest.Span);
            break;
        case 4:
            TextTarget.Request(rest);
            break;
        case 5:
            TextTarget.Position(rest);
            break;
        default:
            ConnectionTarget.Run(rest);
            break;
    }
}
