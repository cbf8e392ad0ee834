using System.Collections.Concurrent;

namespace Broadcast.Middleware.Messages;

/// <summary>
/// Returns one shared <see cref="SubscriptionFilter"/> for equal filters, so that many members use one object. The
/// class holds filters by weak references, so an unused filter does not stay in memory.
/// </summary>
static class SharedFilters
{
    // Clients choose filters, so the number of entries has a limit. Above the limit, new filters are not shared.
    const int MaxFilters = 4096;

    // The text of an unused filter stays in memory until the next cleanup, so filters with a long text are not shared.
    const int MaxTextLength = 4 * SubscriptionFilter.MaxTextLength;

    static readonly ConcurrentDictionary<string, WeakReference<SubscriptionFilter>> All = new(StringComparer.Ordinal);

    static int _countUntilCleanup = MaxFilters;

    /// <summary>Returns a shared filter that equals the given filter, or else the given filter.</summary>
    public static SubscriptionFilter Share(SubscriptionFilter filter)
    {
        var text = filter.ToString();
        if (filter.HasDelegate || text.Length > MaxTextLength) return filter;
        if (All.TryGetValue(text, out var known) && known.TryGetTarget(out var shared)) return shared;
        if (Interlocked.Decrement(ref _countUntilCleanup) <= 0) RemoveUnused();
        if (All.Count < MaxFilters) All[text] = new(filter);
        return filter;
    }

    static void RemoveUnused()
    {
        Volatile.Write(ref _countUntilCleanup, MaxFilters);
        foreach (var entry in All)
        {
            if (!entry.Value.TryGetTarget(out _)) All.TryRemove(entry);
        }
    }
}
