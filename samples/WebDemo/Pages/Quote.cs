using System.Text.Json.Serialization;
using Broadcast.Middleware;

namespace WebDemo;

/// <summary>The price of one symbol. The price moves at random and tends to return to its opening value.</summary>
/// <param name="Symbol">The symbol.</param>
/// <param name="Market">The market of the symbol.</param>
/// <param name="Opening">The opening price.</param>
/// <param name="Change">The change since the opening, in percent.</param>
/// <param name="Time">The time of the price, in milliseconds since 1970.</param>
sealed record Quote(string Symbol, [property: JsonIgnore] string Market, [property: JsonIgnore] double Opening, double Change = 0, long Time = 0)
{
    public double Price => Math.Round(Opening * (1 + (Change / 100)), 2);

    public Quote Move(DateTimeOffset time) =>
        this with { Change = Math.Round((Change * 0.9995) + ((Random.Shared.NextDouble() - 0.5) * 0.4), 2), Time = time.ToUnixTimeMilliseconds() };

    public Message ToMessage() =>
        Message.FromJson(this, DemoJson.Default.Quote) with { Key = Symbol, Tags = MessageTags.Create(("symbol", Symbol), ("market", Market)) };
}
