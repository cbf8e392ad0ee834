using System.Reflection;
using Broadcast.Middleware.Contracts;

namespace Broadcast.Middleware.Tests.Clustering;

/// <summary>
/// Tests that the contract suite detects each mistake of a backplane. Other tests run the suite on correct backplanes.
/// </summary>
public sealed class BackplaneContractTests
{
    [Fact]
    public async Task ContractSuite_MistakenBackplane_Fails()
    {
        // Test all mistakes in parallel, because many mistakes cause a timeout.
        var failures = await Task.WhenAll(Enum.GetValues<BackplaneMistake>().Select(mistake => Task.Run(async () => (mistake, error: await FirstFailureAsync(mistake)))));
        foreach (var (mistake, error) in failures) TestContext.Current.TestOutputHelper?.WriteLine($"{mistake}: {error}");
        Assert.Equal([BackplaneMistake.None], failures.Where(failure => failure.error is null).Select(failure => failure.mistake));
    }

    static async Task<string?> FirstFailureAsync(BackplaneMistake mistake)
    {
        var tests = typeof(BackplaneContract).GetMethods().Where(method => method.IsDefined(typeof(FactAttribute))).ToArray();
        Assert.NotEmpty(tests);
        foreach (var test in tests)
        {
            await using var suite = new MistakenTests(mistake);
            await suite.InitializeAsync();
            if (await Record.ExceptionAsync(() => (Task)test.Invoke(suite, BindingFlags.DoNotWrapExceptions, null, null, null)!) is { } error)
                return $"{test.Name}: {error.Message}";
        }

        return null;
    }

    sealed class MistakenTests(BackplaneMistake mistake) : BackplaneContract
    {
        readonly InMemoryCluster _cluster = new();

        protected override ValueTask LoseDataAsync()
        {
            _cluster.Forget();
            return default;
        }

        protected override ValueTask CrashAsync(IBackplane node)
        {
            if (mistake != BackplaneMistake.KeepsMembersOfCrashedNodes) ((IDisposable)node).Dispose();
            return default;
        }

        // Most mistakes cause a timeout, so the timeout is short.
        protected override TimeSpan Patience => mistake == BackplaneMistake.None ? TimeSpan.FromSeconds(20) : TimeSpan.FromSeconds(2);

        protected override int Many => 400;

        protected override ValueTask<IBackplane> CreateNodeAsync() => new(new MistakenBackplane(_cluster.CreateNode(), mistake));
    }
}
