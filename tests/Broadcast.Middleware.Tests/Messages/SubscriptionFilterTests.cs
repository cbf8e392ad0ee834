using System.Runtime.CompilerServices;
using System.Text;
using CsCheck;

namespace Broadcast.Middleware.Tests.Messages;

public sealed class SubscriptionFilterTests
{
    static readonly string[] Words = ["a", "=", "!=", "in", "not", "and", "or", "(", ")", ",", "'x y'", "\"", "b"];

    static readonly Message Tagged = new()
    {
        Tags = MessageTags.Create(("region", "eu"), ("symbol", "B C"), ("kind", "trade"), ("empty", "")),
    };

    [Theory]
    [InlineData("region = eu", true)]
    [InlineData("region=us", false)]
    [InlineData("region != eu", false)]
    [InlineData("region!='us'", true)]
    [InlineData("REGION = eu", false)]
    [InlineData("region = EU", false)]
    [InlineData("region in (us, eu)", true)]
    [InlineData("region in(us)", false)]
    [InlineData("region not in (us, 'asia')", true)]
    [InlineData("symbol = 'B C'", true)]
    [InlineData("symbol = \"B C\"", true)]
    [InlineData("empty = ''", true)]
    [InlineData("region", true)]
    [InlineData("nothing", false)]
    [InlineData("not nothing", true)]
    [InlineData("nothing != x", true)]
    [InlineData("nothing not in (x)", true)]
    [InlineData("region = us or kind = trade", true)]
    [InlineData("region = us or kind = trade and symbol = x", false)]
    [InlineData("(region = us or kind = trade) and symbol = 'B C'", true)]
    [InlineData("not region = us and kind = trade", true)]
    [InlineData("not (region = us or kind = trade)", false)]
    [InlineData("NOT (region = us) AND Kind = trade", false)]
    [InlineData("not not region = eu", true)]
    [InlineData("region = and or region = eu", true)]
    [InlineData("  region\t=\r\neu  ", true)]
    [InlineData("kind in (a,b,c,d,e,f,g,h,i,j,k,trade)", true)]
    [InlineData("kind in (a,b,c,d,e,f,g,h,i,j,k)", false)]
    public void Parse_ValidText_AcceptsMatchingMessages(string text, bool accepts)
    {
        var filter = SubscriptionFilter.Parse(text);
        Assert.Equal(accepts, filter.Accepts(Tagged));
        var again = SubscriptionFilter.Parse(filter.ToString());
        Assert.Equal(filter, again);
        Assert.Equal(accepts, again.Accepts(Tagged));
    }

    [Theory]
    [InlineData("", 1, "Expected a tag key, 'not' or '('.")]
    [InlineData("   ", 4, "Expected a tag key, 'not' or '('.")]
    [InlineData("region =", 9, "Expected a value. Put other text in quotes.")]
    [InlineData("region = (eu)", 10, "Expected a value. Put other text in quotes.")]
    [InlineData("region ! eu", 10, "Expected '=' after '!'.")]
    [InlineData("region = eu kind = x", 13, "Expected 'and', 'or' or the end of the filter.")]
    [InlineData("region == eu", 9, "Expected a value. Put other text in quotes.")]
    [InlineData("region > eu", 8, "Expected 'and', 'or' or the end of the filter.")]
    [InlineData("region in eu", 11, "Expected '(' after 'in'.")]
    [InlineData("region in ()", 12, "Expected a value. Put other text in quotes.")]
    [InlineData("region in (eu us)", 15, "Expected ',' or ')'.")]
    [InlineData("region not eu", 12, "Expected 'in' after 'not'.")]
    [InlineData("(region = eu", 13, "Expected 'and', 'or' or ')'.")]
    [InlineData("region = eu)", 12, "Expected 'and', 'or' or the end of the filter.")]
    [InlineData("region = 'eu", 10, "The text has no closing quote.")]
    [InlineData("and = eu", 1, "Expected a tag key, 'not' or '('.")]
    [InlineData("region = eu and", 16, "Expected a tag key, 'not' or '('.")]
    [InlineData("région = eu", 2, "Expected 'and', 'or' or the end of the filter.")]
    [InlineData("region = 'a\u0001'", 10, "The value has a control character or an unpaired surrogate.")]
    [InlineData("a23456789012345678901234567890123 = x", 1, "The tag key has more than 32 characters.")]
    public void Parse_InvalidText_NamesPosition(string text, int position, string problem)
    {
        var error = Assert.Throws<FormatException>(() => SubscriptionFilter.Parse(text));
        Assert.Equal($"Error in the filter at position {position}: {problem}", error.Message);
        Assert.False(SubscriptionFilter.TryParse(text, out var filter, out var same));
        Assert.Equal((null, error.Message), (filter, same));
    }

    [Fact]
    public void Parse_TooLongTooDeepOrTooManyValues_NamesLimit()
    {
        AssertProblem(new string('(', 1_025), "The filter has 1025 characters. Use at most 1024 characters.");
        AssertProblem(new string('(', 1_024), "Error in the filter at position 9: More than 8 nested levels. Simplify the filter.");
        AssertProblem(string.Concat(Enumerable.Repeat("not ", 9)) + "a", "Error in the filter at position 33: More than 8 nested levels. Simplify the filter.");
        Assert.True(SubscriptionFilter.TryParse($"{new string('(', 8)}a{new string(')', 8)}", out _, out _));
        Assert.True(SubscriptionFilter.TryParse($"a in ({string.Join(',', Enumerable.Range(0, 64))})", out _, out _));
        AssertProblem($"a in ({string.Join(',', Enumerable.Range(0, 65))})", "Error in the filter at position 189: More than 64 values. Simplify the filter.");
        AssertProblem($"a = {new string('x', 129)}", "Error in the filter at position 5: The value has more than 128 characters.");

        static void AssertProblem(string text, string expected)
        {
            Assert.False(SubscriptionFilter.TryParse(text, out _, out var problem));
            Assert.Equal(expected, problem);
        }
    }

    [Fact]
    public void Parse_AnyText_ReportsShortAsciiProblemOrRoundTrips() => Gen.OneOf(
        Gen.String[Gen.Char["()'\"=!, \tandortinx9ä\ud800\0"], 0, 40],
        Gen.Int[0, Words.Length - 1].Select(index => Words[index]).Array[0, 12].Select(parts => string.Join(' ', parts))).Sample(
            text =>
            {
                if (SubscriptionFilter.TryParse(text, out var filter, out var problem)) Assert.Equal(filter, SubscriptionFilter.Parse(filter.ToString()));
                else Assert.True(problem.Length <= 123 && Ascii.IsValid(problem), problem);
            },
            iter: 5_000);

    [Fact]
    public void Accepts_RandomExpression_EqualsDirectEvaluation() => Gen.Select(Expressions(4), Gen.Int[-1, 3].Array[3]).Sample(
        (expression, values) =>
        {
            (string, string)[] tags = [.. values.Index().Where(tag => tag.Item >= 0).Select(tag => ($"k{tag.Index}", $"v{tag.Item}"))];
            var message = new Message { Tags = tags.Length == 0 ? null : MessageTags.Create(tags) };
            var expected = expression.Evaluate(values);
            Assert.Equal(expected, expression.Filter.Accepts(message));
            var limits = new FilterLimits(100_000, 100, 1_000);
            var parsed = SubscriptionFilter.Parse(expression.Filter.ToString(), limits, out var problem);
            Assert.True(parsed is not null, problem);
            Assert.Equal(expected, parsed.Accepts(message));
            Assert.Equal(expression.Filter.ToString(), parsed.ToString());
        },
        iter: 3_000);

    [Fact]
    public void FactoryMethods_InvalidArguments_ThrowAndNameProblem()
    {
        Assert.Contains("no value", Assert.Throws<ArgumentException>(() => SubscriptionFilter.TagIn("a")).Message, StringComparison.Ordinal);
        Assert.Contains("'a b' has an invalid", Assert.Throws<ArgumentException>(() => SubscriptionFilter.TagExists("a b")).Message.Replace('?', ' '), StringComparison.Ordinal);
        Assert.Contains("129 characters", Assert.Throws<ArgumentException>(() => SubscriptionFilter.TagEquals("a", new string('x', 129))).Message, StringComparison.Ordinal);
        Assert.Contains("is empty", Assert.Throws<ArgumentException>(() => SubscriptionFilter.All()).Message, StringComparison.Ordinal);
        Assert.Contains("is null", Assert.Throws<ArgumentException>(() => SubscriptionFilter.Any([null!])).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void AllAndAny_TooManyComparisonsOrLevels_Throw()
    {
        var one = SubscriptionFilter.TagExists("a");
        var many = SubscriptionFilter.All(Enumerable.Repeat(one, 1_000));
        Assert.Contains("1001 comparisons", Assert.Throws<ArgumentException>(() => SubscriptionFilter.All(many, one)).Message, StringComparison.Ordinal);
        var error = Assert.Throws<ArgumentException>(() =>
        {
            var deep = one;
            for (var i = 0; i < 40; i++) deep = i % 2 == 0 ? SubscriptionFilter.All(deep, one) : SubscriptionFilter.Any(deep, one);
        });
        Assert.Contains("33 levels", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Delegate_InExpression_ReceivesMessage()
    {
        var filter = SubscriptionFilter.All(
            SubscriptionFilter.TagEquals("region", "eu"), SubscriptionFilter.FromDelegate(message => message.Payload.Length > 2 && message.Key == "k"));
        Assert.True(filter.HasDelegate);
        Assert.Equal("region = eu and <delegate>", filter.ToString());
        Assert.True(filter.Accepts(Message.FromText("abc") with { Key = "k", Tags = Tagged.Tags }));
        Assert.False(filter.Accepts(Message.FromText("ab") with { Key = "k", Tags = Tagged.Tags }));
        Assert.False(filter.Accepts(Message.FromText("abc") with { Key = "k" }));
        Assert.NotEqual(filter, SubscriptionFilter.Parse("region = eu"));
    }

    [Fact]
    public void Parse_EqualFilters_ShareOneObject()
    {
        var first = SubscriptionFilter.Parse("sharing = 1 or other in (b, a)");
        Assert.Same(first, SubscriptionFilter.Parse("(sharing='1')or other in(a,b,a)"));
        GC.KeepAlive(first);
    }

    /// <summary>A connect filter of an app creates a <see cref="SubscriptionFilter"/> for each connection.</summary>
    [Fact]
    public void MembershipFilters_EqualFiltersOfTheApp_ShareOneObject()
    {
        var first = new MembershipFilters(SubscriptionFilter.TagEquals("sharing", "2"), null).Both;
        Assert.Same(first, new MembershipFilters(SubscriptionFilter.TagEquals("sharing", "2"), null).Both);
        Assert.NotSame(first, new MembershipFilters(SubscriptionFilter.TagEquals("sharing", "3"), null).Both);
        GC.KeepAlive(first);
    }

    [Fact]
    public void Parse_UnusedFilter_IsNotKeptInMemory()
    {
        var filter = Create();
        GC.Collect();
        Assert.False(filter.IsAlive);

        [MethodImpl(MethodImplOptions.NoInlining)]
        static WeakReference Create() => new(SubscriptionFilter.Parse("unused = 1"));
    }

    static Gen<Expression> Expressions(int depth)
    {
        var keys = Gen.Int[0, 2];
        var terms = Gen.OneOf(
            keys.Select(key => new Expression(SubscriptionFilter.TagExists($"k{key}"), values => values[key] >= 0)),
            Gen.Select(keys, Gen.Int[0, 3]).Select((key, value) => new Expression(SubscriptionFilter.TagEquals($"k{key}", $"v{value}"), values => values[key] == value)),
            Gen.Select(keys, Gen.Int[0, 3].Array[1, 3]).Select((key, set) =>
                new Expression(SubscriptionFilter.TagIn($"k{key}", set.Select(value => $"v{value}")), values => set.Contains(values[key]))));
        if (depth == 0) return terms;
        var inner = Expressions(depth - 1);
        return Gen.OneOf(
            terms,
            inner.Select(expression => new Expression(SubscriptionFilter.Not(expression.Filter), values => !expression.Evaluate(values))),
            inner.Array[1, 3].Select(parts => new Expression(SubscriptionFilter.All(parts.Select(part => part.Filter)), values => parts.All(part => part.Evaluate(values)))),
            inner.Array[1, 3].Select(parts => new Expression(SubscriptionFilter.Any(parts.Select(part => part.Filter)), values => parts.Any(part => part.Evaluate(values)))));
    }

    sealed record Expression(SubscriptionFilter Filter, Func<int[], bool> Evaluate);
}
