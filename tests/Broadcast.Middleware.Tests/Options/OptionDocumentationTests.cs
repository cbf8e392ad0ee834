using System.Globalization;
using System.Reflection;
using System.Text.RegularExpressions;
using System.Xml.Linq;

namespace Broadcast.Middleware.Tests.Options;

/// <summary>Tests that the XML documentation of each option states the default value and the range from the table of ranges.</summary>
public sealed partial class OptionDocumentationTests
{
    static readonly Dictionary<string, string> Documentation = XDocument
        .Load(Path.Combine(AppContext.BaseDirectory, "Broadcast.Middleware.xml"), LoadOptions.PreserveWhitespace)
        .Descendants("member")
        .Where(static member => member.Element("summary") is not null)
        .ToDictionary(static member => member.Attribute("name")!.Value, static member => ToText(member.Element("summary")!));

    public static TheoryData<string, string> AllOptions()
    {
        var data = new TheoryData<string, string>();
        foreach (var type in new[] { typeof(BroadcastOptions), typeof(BroadcastEndpointOptions), typeof(GroupOptions) })
        {
            foreach (var property in type.GetProperties().Where(HasRange)) data.Add(type.Name, property.Name);
        }

        return data;
    }

    [Theory]
    [MemberData(nameof(AllOptions))]
    public void Documentation_OfEachOption_StatesDefaultAndRange(string type, string option)
    {
        var expected = $"Default: {DefaultOf(type, option)}. Range: {RangeOf(option)}.";
        Assert.EndsWith(expected, Documentation[$"P:Broadcast.Middleware.{type}.{option}"], StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(typeof(BroadcastOptions))]
    [InlineData(typeof(GroupOptions))]
    [InlineData(typeof(BroadcastServerOptions))]
    public void OptionsPage_EachOption_StatesDefaultAndRange(Type type)
    {
        var page = File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "options.md"));
        var defaults = Activator.CreateInstance(type);
        Assert.All(type.GetProperties(), option =>
        {
            var range = HasRange(option) ? RangeOf(option.Name).Replace("Timeout.InfiniteTimeSpan", "`Timeout.InfiniteTimeSpan`") : null;
            var value = option.GetValue(defaults) switch
            {
                null => "`null`",
                bool flag => flag ? "`true`" : "`false`",
                Enum name => $"`{name}`",
                System.Collections.IEnumerable => "empty",
                TimeSpan time when time == Timeout.InfiniteTimeSpan => "`Timeout.InfiniteTimeSpan`",
                var number => Format(number),
            };
            Assert.Contains($"\n| `{option.Name}` | {value} | {(range is null ? "" : $"{range} | ")}", page, StringComparison.Ordinal);
        });
    }

    [Fact]
    public void OptionRanges_EachRange_BelongsToAnOption()
    {
        var options = typeof(BroadcastOptions).GetProperties().Concat(typeof(GroupOptions).GetProperties())
            .Where(HasRange).Select(static property => property.Name);
        var ranges = typeof(OptionRanges).GetFields(BindingFlags.Public | BindingFlags.Static).Select(static field => field.Name);
        Assert.Equal(options.Order(StringComparer.Ordinal), ranges.Order(StringComparer.Ordinal));
    }

    [Fact]
    public void OptionRanges_EachRange_HasTheNameOfItsField()
    {
        foreach (var field in typeof(OptionRanges).GetFields(BindingFlags.Public | BindingFlags.Static))
        {
            var name = field.GetValue(null) switch { NumberRange number => number.Name, TimeRange time => time.Name, _ => null };
            Assert.Equal(field.Name, name);
        }
    }

    [Fact]
    public void OptionNames_ForConfigurationKeys_ContainAllBindableProperties()
    {
        Assert.Equal(NamesOf(typeof(BroadcastOptions)), OptionNames.Broadcast.Order(StringComparer.Ordinal));
        Assert.Equal(NamesOf(typeof(GroupOptions)), OptionNames.Group.Order(StringComparer.Ordinal));

        static IEnumerable<string> NamesOf(Type type) =>
            type.GetProperties().Where(static property => !property.PropertyType.IsAssignableTo(typeof(Delegate)))
                .Select(static property => property.Name).Order(StringComparer.Ordinal);
    }

    [Theory]
    [MemberData(nameof(AllOptions))]
    public void Validation_ValueAtOrBeyondLimit_MatchesOptionRanges(string type, string option)
    {
        if (RangeFieldOf(option) is NumberRange number)
        {
            Assert.Null(ProblemWith(type, option, number.Min));
            Assert.Null(ProblemWith(type, option, number.Max));
            foreach (var outside in new[] { number.Min - 1, number.Max + 1 })
            {
                var isInt = PropertyOf(type, option).PropertyType != typeof(long);
                if (isInt && outside is < int.MinValue or > int.MaxValue) continue;
                Assert.Contains(
                    $"{option} is {outside}. Set it from {number.Min} to {number.Max}.",
                    ProblemWith(type, option, outside), StringComparison.Ordinal);
            }

            return;
        }

        var time = (TimeRange)RangeFieldOf(option);
        Assert.Null(ProblemWith(type, option, time.Min));
        Assert.Null(ProblemWith(type, option, time.Max));
        Assert.Equal(time.AllowsInfinite, ProblemWith(type, option, Timeout.InfiniteTimeSpan) is null);
        foreach (var outside in new[] { time.Min - TimeSpan.FromTicks(1), time.Max + TimeSpan.FromTicks(1) })
        {
            Assert.Contains(
                $"{option} is {outside}. Set it from {time.Min} to {time.Max}",
                ProblemWith(type, option, outside), StringComparison.Ordinal);
        }
    }

    /// <summary>
    /// Sets an option and returns the validation error, or null. Options that depend on this option get a matching
    /// value.
    /// </summary>
    static string? ProblemWith(string type, string option, object value)
    {
        var options = new BroadcastOptions { MaxBacklogBytes = 1 << 30, MaxMessageBytes = 1, MaxMessagesPerSecond = 1 };
        var group = options.Groups["/ws"] = new() { HistoryMessages = option == nameof(GroupOptions.ReplayOnJoin) ? 10_000_000 : 0 };
        var endpoint = new BroadcastEndpointOptions(options);
        object target = type switch { nameof(GroupOptions) => group, nameof(BroadcastOptions) => options, _ => endpoint };
        var property = PropertyOf(type, option);
        if (value is long number && property.PropertyType != typeof(long)) value = (int)number;
        property.SetValue(target, value);
        if (target != endpoint) return new BroadcastOptionsValidator().Validate("", options).FailureMessage;
        var problems = new OptionProblems();
        problems.CheckEndpoint(endpoint, options.MaxBacklogBytes);
        return problems.All.Count == 0 ? null : string.Join("; ", problems.All);
    }

    static string DefaultOf(string type, string option) => type switch
    {
        // The default of an endpoint option is the option of the broadcast with the same name.
        nameof(BroadcastEndpointOptions) => $"BroadcastOptions.{option}",
        nameof(GroupOptions) => Format(PropertyOf(type, option).GetValue(new GroupOptions())),
        _ => Format(PropertyOf(type, option).GetValue(new BroadcastOptions())),
    };

    static string RangeOf(string option) => RangeFieldOf(option) switch
    {
        NumberRange number => $"{Format(number.Min)} to {Format(number.Max)}",
        TimeRange { AllowsInfinite: true } time => $"{Format(time.Min)} to {Format(time.Max)}, or {Format(Timeout.InfiniteTimeSpan)}",
        var range => $"{Format(((TimeRange)range).Min)} to {Format(((TimeRange)range).Max)}",
    };

    static string Format(object? value) => value switch
    {
        null => "null",
        TimeSpan time => FormatTime(time),
        _ => Convert.ToInt64(value, CultureInfo.InvariantCulture).ToString("N0", CultureInfo.InvariantCulture),
    };

    static string FormatTime(TimeSpan time)
    {
        if (time == Timeout.InfiniteTimeSpan) return "Timeout.InfiniteTimeSpan";
        if (time == TimeSpan.Zero) return "0";
        var (number, unit) = time switch
        {
            { TotalDays: >= 1 } => (time.TotalDays, "day"),
            { TotalHours: >= 1 } => (time.TotalHours, "hour"),
            { TotalMinutes: >= 1 } => (time.TotalMinutes, "minute"),
            { TotalSeconds: >= 1 } => (time.TotalSeconds, "second"),
            _ => (time.TotalMilliseconds, "millisecond"),
        };
        return string.Create(CultureInfo.InvariantCulture, $"{number} {unit}{(number == 1 ? "" : "s")}");
    }

    static bool HasRange(PropertyInfo property)
    {
        var type = Nullable.GetUnderlyingType(property.PropertyType) ?? property.PropertyType;
        return type == typeof(int) || type == typeof(long) || type == typeof(TimeSpan);
    }

    static object RangeFieldOf(string option) => typeof(OptionRanges).GetField(option)!.GetValue(null)!;

    static PropertyInfo PropertyOf(string type, string option) =>
        typeof(BroadcastOptions).Assembly.GetType($"Broadcast.Middleware.{type}")!.GetProperty(option)!;

    /// <summary>Returns the text of a summary. Replaces each reference with the last two parts of its name.</summary>
    static string ToText(XElement summary)
    {
        var text = string.Concat(summary.Nodes().Select(static node => node switch
        {
            XText text => text.Value,
            XElement { Name.LocalName: "see" } see => string.Join('.', see.Attribute("cref")!.Value.Split('.')[^2..]),
            XElement element => element.Value,
            _ => "",
        }));
        return Spaces().Replace(text, " ").Trim();
    }

    [GeneratedRegex(@"\s+")]
    private static partial Regex Spaces();
}
