using BenchmarkDotNet.Running;
using Broadcast.Benchmarks;

// dotnet run --configuration Release --project benchmarks/Broadcast.Benchmarks -- --filter '*'
// dotnet run --configuration Release --project benchmarks/Broadcast.Benchmarks -- subscription-filters
if (args is ["subscription-filters", ..]) SubscriptionFilterCost.Run(args.Contains("--quick"), args.Contains("--plain"));
else if (args is ["read-sockets", var port]) SocketReader.Run(int.Parse(port, System.Globalization.CultureInfo.InvariantCulture));
else BenchmarkSwitcher.FromAssembly(typeof(Program).Assembly).Run(args);
