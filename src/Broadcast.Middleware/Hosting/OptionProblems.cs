using Broadcast.Middleware.Http;
using Broadcast.Middleware.Messages;

namespace Broadcast.Middleware.Hosting;

/// <summary>Collects the problems in a set of options. Each text states a problem and its fix.</summary>
sealed class OptionProblems
{
    const int MaxHeartbeatLength = 1024;

    readonly List<string> _problems = [];

    public IReadOnlyList<string> All => _problems;

    public void Add(string problem) => _problems.Add(problem);

    /// <summary>
    /// Adds a problem if a value is outside the range of its option. Returns true if the value is valid.
    /// </summary>
    /// <param name="range">The range of the option.</param>
    /// <param name="value">The value. Null if the option is not set.</param>
    /// <param name="owner">The prefix of the option name, such as <c>Groups['/ws'].</c>.</param>
    public bool Check(NumberRange range, long? value, string owner = "")
    {
        if (value is not { } number || (number >= range.Min && number <= range.Max)) return true;
        Add($"{owner}{range.Name} is {number}. Set it from {range.Min} to {range.Max}.");
        return false;
    }

    /// <inheritdoc cref="Check(NumberRange, long?, string)" />
    public bool Check(TimeRange range, TimeSpan value, string owner = "")
    {
        if (value >= range.Min && value <= range.Max) return true;
        if (range.AllowsInfinite && value == Timeout.InfiniteTimeSpan) return true;
        var infinite = range.AllowsInfinite ? ", or to -00:00:00.001 (Timeout.InfiniteTimeSpan)" : "";
        Add($"{owner}{range.Name} is {value}. Set it from {range.Min} to {range.Max}{infinite}.");
        return false;
    }

    /// <summary>Checks that the value is a member of the enumeration.</summary>
    public void CheckSlowConsumer(SlowConsumer? value, string owner = "")
    {
        if (value is not { } slow || Enum.IsDefined(slow)) return;
        var names = string.Join(" or ", Enum.GetNames<SlowConsumer>());
        Add($"{owner}{nameof(SlowConsumer)} is {slow}. Set it to {names}.");
    }

    void CheckHeartbeatMessage(string? text)
    {
        if (text is null || (text.Length is >= 1 and <= MaxHeartbeatLength && !text.Any(char.IsControl))) return;
        Add($"{nameof(BroadcastOptions.HeartbeatMessage)} is empty, has more than {MaxHeartbeatLength} characters, " +
            "or has control characters. Set a short text without line breaks, or null.");
    }

    /// <summary>Checks the options that an endpoint can have.</summary>
    /// <param name="options">The options of the endpoint or of the broadcast.</param>
    /// <param name="maxBacklogBytes">See <see cref="BroadcastOptions.MaxBacklogBytes"/>.</param>
    public void CheckEndpoint(BroadcastEndpointOptions options, int maxBacklogBytes)
    {
        var isInRange = Check(OptionRanges.MaxMessageBytes, options.MaxMessageBytes);
        Check(OptionRanges.MaxSmallFragments, options.MaxSmallFragments);
        Check(OptionRanges.MaxMessagesPerSecond, options.MaxMessagesPerSecond);
        Check(OptionRanges.MaxMessageBurst, options.MaxMessageBurst);
        Check(OptionRanges.FirstMessageTimeout, options.FirstMessageTimeout);
        Check(OptionRanges.CompressMessagesAbove, options.CompressMessagesAbove);
        Check(OptionRanges.SendTimeout, options.SendTimeout);
        Check(OptionRanges.KeepAliveInterval, options.KeepAliveInterval);
        Check(OptionRanges.KeepAliveTimeout, options.KeepAliveTimeout);
        Check(OptionRanges.CloseTimeout, options.CloseTimeout);
        Check(OptionRanges.HeartbeatInterval, options.HeartbeatInterval);
        if (options.EventStreamRetryDelay is { } delay) Check(OptionRanges.EventStreamRetryDelay, delay);
        CheckSlowConsumer(options.SlowConsumer);
        CheckHeartbeatMessage(options.HeartbeatMessage);
        foreach (var origin in options.AllowedOrigins.Where(static origin => !OriginCheck.IsValid(origin)))
        {
            Add($"{nameof(options.AllowedOrigins)} contains '{origin}', which is not an origin. " +
                "Write an origin as browsers do, such as https://example.com or http://localhost:3000, " +
                "without a user, path or query. Or write https://*.example.com for all subdomains, " +
                "or * for all origins.");
        }

        CheckGroupScope(options.GroupScope);
        foreach (var subprotocol in options.RawSubprotocols.Where(static subprotocol => !IsToken(subprotocol)))
        {
            Add($"{nameof(options.RawSubprotocols)} contains '{subprotocol}', which is not a subprotocol. " +
                "Use letters, digits and !#$%&'*+-.^_`|~ only.");
        }

        if (isInRange && options.MaxMessageBytes > maxBacklogBytes)
        {
            Add($"{nameof(options.MaxMessageBytes)} is {options.MaxMessageBytes}, " +
                $"but {nameof(BroadcastOptions.MaxBacklogBytes)} is {maxBacklogBytes}. " +
                $"Lower {nameof(options.MaxMessageBytes)}, or raise {nameof(BroadcastOptions.MaxBacklogBytes)}.");
        }

        if (options is { MaxMessageBurst: { } burst, MaxMessagesPerSecond: null })
        {
            Add($"{nameof(options.MaxMessageBurst)} is {burst}, " +
                $"but {nameof(options.MaxMessagesPerSecond)} is not set. " +
                $"Set {nameof(options.MaxMessagesPerSecond)}, or remove {nameof(options.MaxMessageBurst)}.");
        }
    }

    /// <summary>Returns true if the text is a token (RFC 9110, section 5.6.2).</summary>
    static bool IsToken(string? text) => !string.IsNullOrEmpty(text)
        && text.All(static character => char.IsAsciiLetterOrDigit(character) || "!#$%&'*+-.^_`|~".Contains(character));

    void CheckGroupScope(string? scope)
    {
        if (string.IsNullOrEmpty(scope)) return;
        const string Name = nameof(BroadcastEndpointOptions.GroupScope);
        if (GroupName.Problem(scope) is { } problem) Add($"{Name} is not a valid start of a group name. {problem}");
        else if (scope.EndsWith('/')) Add($"{Name} is '{scope}'. Remove the slash at the end.");
    }
}
