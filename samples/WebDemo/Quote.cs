using Broadcast.Middleware;

namespace WebDemo;

/// <summary>A price that moves at random and tends to return to its opening value.</summary>
sealed class Quote(string symbol, string market, double opening)
{
    readonly MessageTags _tags = MessageTags.Create(("symbol", symbol), ("market", market));
    double _logarithm;

    /// <summary>Returns a message with the price. The change since the opening is in percent.</summary>
    public Message ToMessage(DateTimeOffset time)
    {
        var factor = Math.Exp(_logarithm);
        var update = new PriceUpdate(symbol, Math.Round(opening * factor, 2), Math.Round((factor - 1) * 100, 2), time.ToUnixTimeMilliseconds());
        return Message.FromJson(update, DemoJson.Default.PriceUpdate) with { Key = symbol, Tags = _tags };
    }

    public void Move() => _logarithm = (_logarithm * 0.9995) + ((Random.Shared.NextDouble() - 0.5) * 0.004);
}
