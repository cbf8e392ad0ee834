using System.Reflection;
using Broadcast.Middleware.Contracts;

namespace Broadcast.Middleware.Tests.Connections;

/// <summary>Tests that the contract suite accepts a correct registry and detects each mistake of an incorrect registry.</summary>
/// <remarks>No other test runs in parallel, because these tests measure the heap, which all tests share.</remarks>
[Collection(nameof(NotParallelCollection))]
public sealed class ConnectionRegistryContractTests : ConnectionRegistryContract
{
    public static TheoryData<RegistryMistake> Mistakes => [.. Enum.GetValues<RegistryMistake>().Where(mistake => mistake != RegistryMistake.None)];

    protected override IConnectionRegistry Create() => new SampleRegistry();

    [Theory]
    [MemberData(nameof(Mistakes))]
    public async Task ContractSuite_RegistryWithMistake_Fails(RegistryMistake mistake)
    {
        var suite = new MistakenRegistryTests(mistake);
        var tests = typeof(ConnectionRegistryContract).GetMethods().Where(method => method.IsDefined(typeof(FactAttribute))).ToArray();
        Assert.NotEmpty(tests);
        // Run the slow test with a million joins last, because the other tests usually find a mistake faster.
        foreach (var test in tests.OrderBy(test => test.Name == nameof(JoinAndLeave_AMillionTimes_LeaksNoMemory)))
        {
            if (await Record.ExceptionAsync(() => RunAsync(suite, test)) is not null) return;
        }

        Assert.Fail($"The suite did not detect the mistake: {mistake}");
    }

    [Theory]
    [InlineData(RegistryMistake.KeepsMemberships, nameof(Remove_ConnectionInGroups_RemovesConnectionFromAllListings))]
    [InlineData(RegistryMistake.JoinsTwice, nameof(TryJoin_Twice_ReturnsFalse))]
    [InlineData(RegistryMistake.LetsUnknownConnectionsJoin, nameof(TryJoin_UnknownConnection_ReturnsFalse))]
    [InlineData(RegistryMistake.FindsOneDevice, nameof(GetUserConnections_SeveralDevices_ReturnsAllConnectionsOfUser))]
    [InlineData(RegistryMistake.KeepsEmptyGroups, nameof(JoinAndLeave_AMillionTimes_LeaksNoMemory))]
    [InlineData(RegistryMistake.ComparesObjects, nameof(Calls_NewObjectWithSameIdPerCall_ChangeSameConnection))]
    public async Task ContractTest_RegistryWithCoveredMistake_Fails(RegistryMistake mistake, string test)
    {
        var error = await Record.ExceptionAsync(() => RunAsync(new MistakenRegistryTests(mistake), typeof(ConnectionRegistryContract).GetMethod(test)!));
        Assert.IsType<Xunit.Sdk.XunitException>(error, exactMatch: false);
    }

    static async Task RunAsync(ConnectionRegistryContract suite, MethodInfo test)
    {
        var result = test.Invoke(suite, BindingFlags.DoNotWrapExceptions, null, null, null);
        if (result is Task task) await task;
    }

    sealed class MistakenRegistryTests(RegistryMistake mistake) : ConnectionRegistryContract
    {
        protected override IConnectionRegistry Create() => new SampleRegistry(mistake);
    }
}
