using BenchmarkDotNet.Running;

// dotnet run --configuration Release --project benchmarks/Broadcast.Benchmarks -- --filter '*'
BenchmarkSwitcher.FromAssembly(typeof(Program).Assembly).Run(args);
