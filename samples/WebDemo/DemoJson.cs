using System.Text.Json;
using System.Text.Json.Serialization;

namespace WebDemo;

/// <param name="LocalRecipients">How many connections the message is for.</param>
/// <param name="Offset">Its place in the group; null if nobody is there and the group keeps nothing.</param>
sealed record PublishAnswer(int LocalRecipients, [property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] long? Offset);

/// <param name="Connections">How many there are.</param>
sealed record CountAnswer(int Connections);

/// <summary>Somebody is there, or, without a name, is there no more.</summary>
/// <param name="Id">The connection's.</param>
/// <param name="Name">What it is called.</param>
sealed record Presence(string Id, string? Name);

/// <param name="Symbol">What of.</param>
/// <param name="Price">How much.</param>
/// <param name="Change">In percent, since the opening.</param>
/// <param name="Time">When, in milliseconds since 1970.</param>
sealed record PriceUpdate(string Symbol, double Price, double Change, long Time);

/// <summary>What is said on the board, by clients and to them.</summary>
/// <param name="Type">stroke, cursor or clear; you, from the server.</param>
/// <param name="Id">Whose; from the server.</param>
/// <param name="Name">What they are called; from the server.</param>
/// <param name="Points">Of a stroke: x and y in turns.</param>
/// <param name="X">Of a cursor; without it, it has left the board.</param>
/// <param name="Y">Of a cursor, too.</param>
sealed record BoardMessage(string Type, string? Id = null, string? Name = null, int[]? Points = null, int? X = null, int? Y = null);

/// <summary>Written without reflection, which a trimmed or natively compiled app has to do without.</summary>
[JsonSourceGenerationOptions(
    JsonSerializerDefaults.Web, NumberHandling = JsonNumberHandling.Strict, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(string))]
[JsonSerializable(typeof(Presence))]
[JsonSerializable(typeof(PriceUpdate))]
[JsonSerializable(typeof(BoardMessage))]
[JsonSerializable(typeof(PublishAnswer))]
[JsonSerializable(typeof(CountAnswer))]
sealed partial class DemoJson : JsonSerializerContext;
