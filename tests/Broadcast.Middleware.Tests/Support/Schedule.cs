using CsCheck;

namespace Broadcast.Middleware.Tests.Support;

/// <summary>
/// One step of a random schedule. A model uses the numbers to choose, for example, a connection and a group.
/// </summary>
readonly record struct Operation<TStep>(TStep Step, int A, int B, int C, int Size);

/// <summary>Generates random schedules. When a test fails, CsCheck shrinks and prints the failed schedule.</summary>
static class Schedule
{
    /// <param name="longest">The largest number of steps.</param>
    /// <param name="numbers">The largest values of the numbers A, B and C.</param>
    /// <param name="sizes">The sizes of messages.</param>
    /// <param name="steps">The steps. A step with a greater weight is more frequent.</param>
    public static Gen<Operation<TStep>[]> Create<TStep>(
        int longest, (int A, int B, int C) numbers, Gen<int> sizes, params (int Weight, TStep Step)[] steps) => Gen.Select(
            Gen.Frequency([.. steps.Select(step => (step.Weight, Gen.Const(step.Step)))]),
            Gen.Int[0, numbers.A], Gen.Int[0, numbers.B], Gen.Int[0, numbers.C], sizes,
            (step, a, b, c, size) => new Operation<TStep>(step, a, b, c, size)).Array[10, longest];
}
