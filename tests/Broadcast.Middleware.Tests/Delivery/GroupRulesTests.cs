
namespace Broadcast.Middleware.Tests.Delivery;

/// <summary>Tests the options of single groups: the choice of the pattern, and the valid values.</summary>
public sealed class GroupRulesTests
{
    [Theory]
    [InlineData("/rooms/blue", 3)]
    [InlineData("/rooms/blue2", 2)]
    [InlineData("/rooms/green", 2)]
    [InlineData("/rooms/", 2)]
    [InlineData("/rooms", 1)]
    [InlineData("/Rooms/blue", 1)]
    [InlineData("other", 1)]
    [InlineData("/rooms/private/a", 4)]
    [InlineData("/rooms/private/", 4)]
    [InlineData("/rooms/private", 2)]
    [InlineData("/rooms/private/\u00e9", 4)]
    public void GroupRules_SeveralMatchingPatterns_ExactNameThenLongestPrefixWins(string group, int messages)
    {
        var options = Options("*", "/rooms/*", "/rooms/blue", "/rooms/private/*");
        Assert.Equal(messages, new GroupRules(options).Find(group).History!.HistoryMessages);
        // The order in which an app adds the patterns has no effect.
        var reversed = new BroadcastOptions();
        foreach (var (pattern, settings) in options.Groups.Reverse()) reversed.Groups[pattern] = settings;
        Assert.Equal(messages, new GroupRules(reversed).Find(group).History!.HistoryMessages);
    }

    [Fact]
    public void GroupRules_NoMatchingPattern_HasNoHistoryAndUsesOptionOfEndpoint()
    {
        var options = Options("/a", "/b*");
        options.SlowConsumer = SlowConsumer.SkipToLatest;
        var rules = new GroupRules(options);
        Assert.Null(rules.Find("/c").History);
        Assert.Null(rules.Find("/c").WhenSlow);
        Assert.Null(rules.Find("/a").WhenSlow);
        Assert.Equal(SlowConsumer.SkipToLatest, new EndpointSettings(options).SlowConsumer);
        Assert.Null(new GroupRules(Options("*")).Find(GroupName.Everyone).History);
        Assert.Null(new GroupRules(Options("*")).Default.History);
    }

    [Fact]
    public void GroupSlowConsumer_WithOrWithoutHistory_OverridesBroadcastOption()
    {
        var options = new BroadcastOptions { SlowConsumer = SlowConsumer.SkipToLatest };
        options.Groups["/d"] = new() { SlowConsumer = SlowConsumer.Disconnect };
        options.Groups["/c"] = new() { SlowConsumer = SlowConsumer.Conflate, HistoryMessages = 1 };
        var rules = new GroupRules(options);
        Assert.Equal(SlowConsumer.Disconnect, rules.Find("/d").WhenSlow);
        Assert.Null(rules.Find("/d").History);
        Assert.Equal(SlowConsumer.Conflate, rules.Find("/c").WhenSlow);
        Assert.Equal(2L * options.MaxBacklogBytes + options.Groups["/c"].HistoryBytes, rules.Find("/c").Capacity);
    }

    [Fact]
    public void ConflationReserve_EndpointConflates_DoublesBacklogOfGroupsWithoutSetting()
    {
        const int Backlog = 100_000;
        var options = new BroadcastOptions { MaxBacklogBytes = Backlog, Groups = { ["/own"] = new() { SlowConsumer = SlowConsumer.Disconnect } } };
        var rules = new GroupRules(options);
        Assert.Equal((Backlog, Backlog), (rules.Default.CurrentCapacity, rules.Find("/own").CurrentCapacity));
        rules.Adapt(SlowConsumer.SkipToLatest);
        Assert.Equal(Backlog, rules.Default.CurrentCapacity);
        rules.Adapt(SlowConsumer.Conflate);
        Assert.Equal((2 * Backlog, Backlog), (rules.Default.CurrentCapacity, rules.Find("/own").CurrentCapacity));
        Assert.Equal((2 * Backlog) + options.MaxUnacknowledgedBytes, rules.Default.CurrentMaxRetained);
    }

    [Theory]
    [InlineData(nameof(GroupOptions.HistoryMessages), -1, 0, 10_000_000)]
    [InlineData(nameof(GroupOptions.HistoryMessages), 10_000_001, 0, 10_000_000)]
    [InlineData(nameof(GroupOptions.HistoryBytes), 1_023, 1_024, 1 << 30)]
    [InlineData(nameof(GroupOptions.HistoryBytes), (1 << 30) + 1, 1_024, 1 << 30)]
    [InlineData(nameof(GroupOptions.ReplayOnJoin), -1, 0, 10_000_000)]
    [InlineData(nameof(GroupOptions.ReplayOnJoin), 10_000_001, 0, 10_000_000)]
    public void GroupOption_ValueOutOfRange_IsRejected(string option, int value, int least, int most)
    {
        Assert.Equal($"BroadcastOptions: Groups['/rooms/*'].{option} is {value}. Set it from {least} to {most}.", ProblemWith(option, value));
        Assert.Null(ProblemWith(option, least));
        Assert.Null(ProblemWith(option, most));
    }

    [Theory]
    [InlineData("00:00:00.9999999")]
    [InlineData("30.00:00:00.0000001")]
    [InlineData("00:00:00")]
    [InlineData("-00:00:00.0020000")]
    public void HistoryAge_OutOfRange_IsRejected(string age)
    {
        Assert.Equal(
            $"BroadcastOptions: Groups['/rooms/*'].HistoryAge is {age}. Set it from 00:00:01 to 30.00:00:00, or to -00:00:00.001 (Timeout.InfiniteTimeSpan).",
            ProblemWith(nameof(GroupOptions.HistoryAge), TimeSpan.Parse(age, null)));
        Assert.Null(ProblemWith(nameof(GroupOptions.HistoryAge), TimeSpan.FromSeconds(1)));
        Assert.Null(ProblemWith(nameof(GroupOptions.HistoryAge), TimeSpan.FromDays(30)));
        Assert.Null(ProblemWith(nameof(GroupOptions.HistoryAge), Timeout.InfiniteTimeSpan));
    }

    [Fact]
    public void GroupSlowConsumer_UndefinedValue_IsRejected()
    {
        Assert.Equal(
            "BroadcastOptions: Groups['/rooms/*'].SlowConsumer is 7. Set it to Disconnect or SkipToLatest or Conflate.",
            ProblemWith(nameof(GroupOptions.SlowConsumer), (SlowConsumer)7));
        Assert.Null(ProblemWith(nameof(GroupOptions.SlowConsumer), SlowConsumer.Conflate));
    }

    [Theory]
    [InlineData("", "The group name is empty.")]
    [InlineData("a\nb", "U+000A")]
    [InlineData("a\u2028*", "U+2028")]
    public void GroupKey_MatchesNoGroup_IsRejected(string pattern, string problem)
    {
        var message = Validate(Options(pattern));
        Assert.Contains("Groups has a key that matches no group. ", message, StringComparison.Ordinal);
        Assert.Contains(problem, message, StringComparison.Ordinal);
    }

    [Fact]
    public void GroupKey_TooLong_IsRejected()
    {
        Assert.Null(Validate(Options("*", new string('a', 255), new string('a', 255) + "*", "a*b", "**")));
        Assert.Contains("The group name has 256 characters. Use at most 255 characters.", Validate(Options(new string('a', 256))), StringComparison.Ordinal);
        Assert.Contains("The group name has 256 characters. Use at most 255 characters.", Validate(Options(new string('a', 256) + "*")), StringComparison.Ordinal);
    }

    [Fact]
    public void GroupKey_WithNullSettings_IsRejected()
    {
        var options = new BroadcastOptions();
        options.Groups["/rooms/*"] = null!;
        Assert.Contains("Groups['/rooms/*'] is null", Validate(options), StringComparison.Ordinal);
    }

    [Fact]
    public void Validation_SeveralProblems_ReportsAllAtOnce()
    {
        var options = Options("/a", "/b*");
        (options.Groups["/a"].HistoryMessages, options.Groups["/a"].HistoryBytes) = (-1, 0);
        (options.Groups["/b*"].HistoryAge, options.Groups["/b*"].ReplayOnJoin) = (TimeSpan.Zero, -1);
        (options.MaxGroupsPerConnection, options.MaxEmptyGroups) = (0, -1);
        Assert.Equal(6, new BroadcastOptionsValidator().Validate("", options).Failures!.Count());
    }

    [Theory]
    [InlineData(0, "MaxGroupsPerConnection is 0. Set it from 1 to 65536.")]
    [InlineData(65_537, "MaxGroupsPerConnection is 65537. Set it from 1 to 65536.")]
    [InlineData(65_536, null)]
    [InlineData(1, null)]
    public void MaxGroupsPerConnection_OutOfRange_IsRejected(int value, string? problem) =>
        Assert.Equal(problem is null ? null : "BroadcastOptions: " + problem, Validate(new() { MaxGroupsPerConnection = value }));

    [Theory]
    [InlineData(-1, "MaxEmptyGroups is -1. Set it from 0 to 1000000.")]
    [InlineData(1_000_001, "MaxEmptyGroups is 1000001. Set it from 0 to 1000000.")]
    [InlineData(0, null)]
    [InlineData(1_000_000, null)]
    public void MaxEmptyGroups_OutOfRange_IsRejected(int value, string? problem) =>
        Assert.Equal(problem is null ? null : "BroadcastOptions: " + problem, Validate(new() { MaxEmptyGroups = value }));

    [Fact]
    public void SlowConnection_InSeveralGroups_FollowsOptionOfEachGroup()
    {
        using var broadcast = new TestEngine(maxBacklog: 4_096, configure: options =>
        {
            RecoveryHelpers.History("/unused")(options);
            options.Groups["/prices"] = new() { SlowConsumer = SlowConsumer.Conflate };
            options.Groups["/news"] = new() { SlowConsumer = SlowConsumer.SkipToLatest };
        });
        var listener = new Listener(broadcast) { Sink = { Mode = WriteMode.Later } };
        foreach (var group in new[] { "/prices", "/news", "/chat" }) listener.Join(group);
        var published = new List<int>();
        Publish("/chat", 1, null);

        // The write of message 1 stays pending. The server conflates prices, skips news, and keeps chat messages.
        foreach (var id in RecoveryHelpers.Range(100, 199)) Publish("/prices", id, "a");
        Publish("/chat", 2, null);
        foreach (var id in RecoveryHelpers.Range(200, 299)) Publish("/news", id, null);
        Publish("/chat", 3, null);
        Assert.Null(listener.Connection.Writer.ClosingStatus);
        listener.Sink.Mode = WriteMode.AtOnce;
        listener.Sink.CompleteWrite();
        broadcast.RunUntilIdle();
        Assert.Equal(published.Where(listener.Got.Contains), listener.Got);
        Assert.Equal([1, 2, 3], listener.Got.Where(id => id < 100));
        Assert.Equal(199, listener.Got.Last(id => id is >= 100 and < 200));
        Assert.Equal(299, listener.Got.Last(id => id >= 200));
        Assert.InRange(listener.Got.Count(id => id is >= 100 and < 200), 1, 20);
        Assert.InRange(listener.Got.Count(id => id >= 200), 1, 20);

        // The server must not skip chat messages, so it closes the connection.
        listener.Sink.Mode = WriteMode.Later;
        foreach (var id in RecoveryHelpers.Range(300, 399)) Publish("/chat", id, "a");
        Assert.Equal(CloseStatus.TryAgainLater, listener.Connection.Writer.ClosingStatus);
        listener.AssertNoViolation();

        void Publish(string group, int id, string? key)
        {
            published.Add(id);
            broadcast.Publish(new(Payload.Make(id, 200), MessageType.Binary) { Key = key }, Recipients.Group(group));
            broadcast.RunUntilIdle();
        }
    }

    static BroadcastOptions Options(params string[] patterns)
    {
        var options = new BroadcastOptions();
        for (var i = 0; i < patterns.Length; i++) options.Groups[patterns[i]] = new() { HistoryMessages = i + 1 };
        return options;
    }

    static string? ProblemWith(string option, object value)
    {
        var options = Options("/rooms/*");
        if (option == nameof(GroupOptions.ReplayOnJoin)) options.Groups["/rooms/*"].HistoryMessages = 10_000_000;
        typeof(GroupOptions).GetProperty(option)!.SetValue(options.Groups["/rooms/*"], value);
        return Validate(options);
    }

    static string? Validate(BroadcastOptions options) => new BroadcastOptionsValidator().Validate("", options).FailureMessage;
}
