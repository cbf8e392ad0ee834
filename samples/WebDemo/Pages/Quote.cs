using Broadcast.Middleware;

namespace WebDemo;

/// <summary>A price that moves at random and tends to return to its opening value.</summary>
sealed class Quote(string symbol, string market)
{
    readonly MessageTags _tags = MessageTags.Create(("symbol", symbol), ("market", market));
    readonly double _opening = Random.Shared.Next(20, 200);
    double _change;

    /// <summary>Moves the price, and returns a message with the new price.</summary>
    public Message Move(DateTimeOffset time)
    {
        _change = (_change * 0.9995) + ((Random.Shared.NextDouble() - 0.5) * 0.4);
        var price = Math.Round(_opening * (1 + (_change / 100)), 2);
        var update = new PriceUpdate(symbol, price, Math.Round(_change, 2), time.ToUnixTimeMilliseconds());
        return Message.FromJson(update, DemoJson.Default.PriceUpdate) with { Key = symbol, Tags = _tags };
    }
}

/// <summary>A new price of one symbol.</summary>
/// <param name="Symbol">The symbol.</param>
/// <param name="Price">The price.</param>
/// <param name="Change">The change since the opening, in percent.</param>
/// <param name="Time">The time of the price, in milliseconds since 1970.</param>
sealed record PriceUpdate(string Symbol, double Price, double Change, long Time);
