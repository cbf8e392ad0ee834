namespace Broadcast.Middleware.Tests.Support;

/// <summary>A subscription filter of a model, and the numbers of the messages that the filter accepts.</summary>
sealed record ModelFilter(SubscriptionFilter? Filter, Func<int, bool> Accepts)
{
    static readonly MessageTags[] Tags = [.. Enumerable.Range(0, 4).Select(kind => MessageTags.Create(("kind", $"k{kind}"), ("a", "b")))];

    static readonly ModelFilter[] Filters =
    [
        new(SubscriptionFilter.Parse("kind = k1"), number => !HasNoTags(number) && number % 4 == 1),
        new(SubscriptionFilter.Parse("kind != k2"), number => HasNoTags(number) || number % 4 != 2),
        new(SubscriptionFilter.Parse("kind in (k0, k3) and a = b"), number => !HasNoTags(number) && number % 4 is 0 or 3),
        new(SubscriptionFilter.FromDelegate(message => message.Tags?["kind"] is "k0" or "k1"), number => !HasNoTags(number) && number % 4 is 0 or 1),
        new(SubscriptionFilter.Parse("kind = nothing"), number => false),
    ];

    public static ModelFilter None { get; } = new(null, number => true);

    /// <summary>Returns the tags of a message. One message in seven has no tags.</summary>
    public static MessageTags? TagsOf(int number) => HasNoTags(number) ? null : Tags[number % 4];

    /// <summary>Returns <see cref="None"/> for every third number, and a filter for all other numbers.</summary>
    public static ModelFilter Choose(int how) => how % 3 == 0 ? None : Filters[how / 3 % Filters.Length];

    static bool HasNoTags(int number) => number % 7 == 0;
}
