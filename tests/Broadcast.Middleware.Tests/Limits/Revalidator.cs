using System.Collections.Concurrent;

namespace Broadcast.Middleware.Tests.Limits;

/// <summary>A revalidator that returns true or the test's answer, and records its calls.</summary>
sealed class Revalidator : IConnectionRevalidator
{
    readonly ConcurrentQueue<string?> _asked = new();
    int _answered;

    public Func<IBroadcastConnection, CancellationToken, ValueTask<bool>> Answer { get; set; } = static (_, _) => new(true);

    public int Asked => _asked.Count;

    public int TimesAsked(string userId) => _asked.Count(asked => asked == userId);

    /// <summary>Completes when every call has returned.</summary>
    public Task HasAnswered() => Eventually.True(() => Volatile.Read(ref _answered) == Asked);

    public async ValueTask<bool> IsValidAsync(IBroadcastConnection connection, CancellationToken cancellationToken)
    {
        _asked.Enqueue(connection.UserId);
        try
        {
            return await Answer(connection, cancellationToken);
        }
        finally
        {
            Interlocked.Increment(ref _answered);
        }
    }
}
