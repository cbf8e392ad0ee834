using System.Collections.Concurrent;

namespace Broadcast.Middleware.Tests.Limits;

/// <summary>Says yes, or what it is told to say, and remembers who was asked about.</summary>
sealed class Revalidator : IConnectionRevalidator
{
    readonly ConcurrentQueue<string?> _asked = new();
    readonly ConcurrentQueue<TaskCompletionSource> _held = new();

    public Func<IBroadcastConnection, CancellationToken, ValueTask<bool>> Answer { get; set; } = static (_, _) => new(true);

    /// <summary>True to keep each answer back until <see cref="AnswerAsync"/> is called.</summary>
    public bool HoldsAnswers { get; set; }

    public int Asked => _asked.Count;

    public int TimesAsked(string userId) => _asked.Count(asked => asked == userId);

    /// <summary>Gives so many answers that were kept back. When the task ends, the connections have set the time of the next question.</summary>
    public async Task AnswerAsync(int count)
    {
        await Eventually.True(() => _held.Count == count);
        // On the thread pool, what waits for the answer goes on within this call.
        await Task.Run(() =>
        {
            while (_held.TryDequeue(out var held)) held.SetResult();
        });
    }

    public async ValueTask<bool> IsValidAsync(IBroadcastConnection connection, CancellationToken cancellationToken)
    {
        _asked.Enqueue(connection.UserId);
        var answer = await Answer(connection, cancellationToken);
        if (!HoldsAnswers) return answer;
        var held = new TaskCompletionSource();
        _held.Enqueue(held);
        await held.Task;
        return answer;
    }
}
