using System.Collections.Concurrent;
using System.Runtime.CompilerServices;

namespace Broadcast.Middleware.Tests.Support;

/// <summary>A revalidator that returns true or the test's answer, and records its calls.</summary>
sealed class Revalidator : IConnectionRevalidator
{
    readonly ConcurrentQueue<string?> _asked = new();
    readonly ConcurrentQueue<(Connection Connection, TaskCompletionSource Answer)> _held = new();

    public Func<IBroadcastConnection, CancellationToken, ValueTask<bool>> Answer { get; set; } = static (_, _) => new(true);

    /// <summary>True to delay each answer until the test calls <see cref="AnswerAsync"/>.</summary>
    public bool HoldsAnswers { get; set; }

    public int Asked => _asked.Count;

    public int TimesAsked(string userId) => _asked.Count(asked => asked == userId);

    /// <summary>
    /// Waits for <paramref name="count"/> delayed answers, and releases these answers. When the task completes, the
    /// connections have scheduled their next calls.
    /// </summary>
    public async Task AnswerAsync(int count)
    {
        await Eventually.True(() => _held.Count == count);
        while (_held.TryDequeue(out var held))
        {
            held.Answer.SetResult();
            // A connection schedules the next call before it ends the check.
            await CheckedAsync(held.Connection);
        }
    }

    /// <summary>Waits until no check of the connection runs.</summary>
    public static Task CheckedAsync(Connection connection)
    {
        var monitor = AuthenticationOf(connection)!;
        return Eventually.True(() => Volatile.Read(ref IsChecking(monitor)) == 0);
    }

    public async ValueTask<bool> IsValidAsync(IBroadcastConnection connection, CancellationToken cancellationToken)
    {
        // A test can change the property after this call has started.
        var holdsAnswer = HoldsAnswers;
        _asked.Enqueue(connection.UserId);
        var answer = await Answer(connection, cancellationToken);
        if (!holdsAnswer) return answer;
        var held = new TaskCompletionSource();
        _held.Enqueue(((Connection)connection, held));
        await held.Task;
        return answer;
    }

    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "_authentication")]
    static extern ref AuthenticationMonitor? AuthenticationOf(Connection connection);

    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "_isChecking")]
    static extern ref int IsChecking(AuthenticationMonitor monitor);
}
