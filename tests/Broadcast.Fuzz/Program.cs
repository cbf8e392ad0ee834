using Broadcast.Fuzz;
using SharpFuzz;

// The first byte of an input chooses what the rest is fed to. Under afl-fuzz this serves one input after the other; with files as
// arguments it runs those, to look at a finding.
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
