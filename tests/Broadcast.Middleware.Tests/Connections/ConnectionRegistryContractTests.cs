using System.Reflection;
using Broadcast.Middleware.Contracts;
using Broadcast.Middleware.Tests.Limits;

namespace Broadcast.Middleware.Tests;

/// <summary>The contract suite is passed by a registry that is right, and finds what is wrong in one that is not.</summary>
/// <remarks>Alone, since the suite measures the heap, which all tests share.</remarks>
[Collection(nameof(Alone))]
public sealed class ConnectionRegistryContractTests : ConnectionRegistryContract
{
    public static TheoryData<RegistryMistake> Mistakes => [.. Enum.GetValues<RegistryMistake>().Where(mistake => mistake != RegistryMistake.None)];

    protected override IConnectionRegistry Create() => new SampleRegistry();

    [Theory]
    [MemberData(nameof(Mistakes))]
    public async Task A_registry_that_makes_a_mistake_fails_the_suite(RegistryMistake mistake)
    {
        var suite = new MistakenRegistryTests(mistake);
        var tests = typeof(ConnectionRegistryContract).GetMethods().Where(method => method.IsDefined(typeof(FactAttribute))).ToArray();
        Assert.NotEmpty(tests);
        foreach (var test in tests)
        {
            if (await Record.ExceptionAsync(() => RunAsync(suite, test)) is not null) return;
        }

        Assert.Fail($"The suite has not noticed: {mistake}");
    }

    [Theory]
    [InlineData(RegistryMistake.LeavesMembershipsBehind, nameof(A_removed_connection_is_forgotten_in_whichever_groups_it_was))]
    [InlineData(RegistryMistake.JoinsTwice, nameof(A_connection_joins_a_group_once))]
    [InlineData(RegistryMistake.LetsStrangersJoin, nameof(Who_is_not_connected_joins_nothing))]
    [InlineData(RegistryMistake.FindsOneDevice, nameof(A_user_is_found_on_every_device))]
    [InlineData(RegistryMistake.KeepsEmptyGroups, nameof(A_million_joins_and_leaves_leave_nothing_behind))]
    public async Task The_test_that_is_named_for_a_mistake_finds_it(RegistryMistake mistake, string test)
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
