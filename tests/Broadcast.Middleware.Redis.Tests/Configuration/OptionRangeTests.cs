using System.Text.RegularExpressions;
using System.Xml.Linq;
using Broadcast.Middleware.Redis.Configuration;

namespace Broadcast.Middleware.Redis.Tests.Configuration;

/// <summary>Tests that the documentation states the same ranges that the validator uses.</summary>
public sealed partial class OptionRangeTests
{
    static readonly RedisBackplaneOptions Defaults = new();

    public static TheoryData<string> RangeOptions => [.. OptionRange.All.Select(static range => range.Name)];

    [Fact]
    public void OptionRanges_NumericOptions_AreAllIncluded()
    {
        var numericOptions = typeof(RedisBackplaneOptions).GetProperties()
            .Where(static option => option.PropertyType == typeof(int)
                || option.PropertyType == typeof(long)
                || option.PropertyType == typeof(TimeSpan))
            .Select(static option => option.Name);
        Assert.Equal(numericOptions.Order(), OptionRange.All.Select(static range => range.Name).Order());
    }

    [Theory]
    [MemberData(nameof(RangeOptions))]
    public void XmlComment_OfOption_StatesDefaultAndRange(string option)
    {
        var range = OptionRange.All.Single(range => range.Name == option);
        var comments = XDocument.Load(Path.Combine(AppContext.BaseDirectory, "Broadcast.Middleware.Redis.xml"));
        var comment = comments.Descendants("member").Single(
            member => (string)member.Attribute("name")! == $"P:Broadcast.Middleware.RedisBackplaneOptions.{option}");
        var text = Whitespace().Replace(comment.Value, " ");
        // The comments show a rounded size in parentheses after each size in bytes. Remove the rounded sizes.
        text = RoundedSize().Replace(text, "");
        Assert.Contains($"Default {range.FormatValue(Defaults)}.", text, StringComparison.Ordinal);
        Assert.Contains($"Range {range.Min} to {range.Max}.", text, StringComparison.Ordinal);
    }

    [Theory]
    [MemberData(nameof(RangeOptions))]
    public void OptionsTable_OfOption_StatesDefaultAndRange(string option)
    {
        var range = OptionRange.All.Single(range => range.Name == option);
        var row = File.ReadLines(Path.Combine(AppContext.BaseDirectory, "redis.md"))
            .Single(line => line.StartsWith($"| `{option}` |", StringComparison.Ordinal));
        var cells = row.Split('|', StringSplitOptions.TrimEntries);
        Assert.Equal((range.FormatValue(Defaults), $"{range.Min} to {range.Max}"), (cells[2], cells[3]));
    }

    [GeneratedRegex(@"\s+")]
    private static partial Regex Whitespace();

    [GeneratedRegex(@" \([0-9]+ [MGT]iB\)")]
    private static partial Regex RoundedSize();
}
