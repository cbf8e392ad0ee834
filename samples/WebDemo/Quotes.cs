namespace WebDemo;

/// <summary>The quotes of all symbols. Each round moves every quote once, in a new random order.</summary>
sealed class Quotes
{
    static readonly string[] Symbols =
    [
        "ALDER", "AMBER", "ASPEN", "BASIL", "BIRCH", "BRINE", "CEDAR", "CHALK", "CLOVE", "COBLT",
        "CORAL", "DELTA", "DRIFT", "EBONY", "EMBER", "FJORD", "FLINT", "FROST", "GLADE", "GRAIN",
        "HAZEL", "HERON", "INDGO", "IVORY", "JOLLY", "KELPY", "LARCH", "LINEN", "LOTUS", "MAPLE",
        "MERIT", "MOSSY", "NORTH", "OAKEN", "OCHRE", "OPALS", "ORBIT", "PEARL", "PLUME", "QUILL",
        "RAVEN", "RIDGE", "SABLE", "SLATE", "SOLAR", "SPRUC", "TIDAL", "UMBRA", "VELUM", "WHEAT",
    ];

    static readonly string[] Markets = ["north", "east", "south"];

    readonly Quote[] _quotes = [.. Symbols.Select(static (symbol, index) =>
        new Quote(symbol, Markets[index % Markets.Length], 20 + (Random.Shared.NextDouble() * 180)))];

    // The number of quotes that have moved in the current round.
    int _moved;

    public int Count => _quotes.Length;

    public void StartRound() => _moved = 0;

    /// <summary>Moves the next quote of the round, and returns this quote.</summary>
    public Quote MoveNext()
    {
        if (_moved == _quotes.Length) StartRound();
        if (_moved == 0) Random.Shared.Shuffle(_quotes);
        var quote = _quotes[_moved++];
        quote.Move();
        return quote;
    }
}
