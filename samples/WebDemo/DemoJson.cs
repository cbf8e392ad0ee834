using System.Text.Json;
using System.Text.Json.Serialization;

namespace WebDemo;

/// <param name="LocalRecipients">How many connections the message is for.</param>
/// <param name="Offset">Its place in the group; null if nobody is there.</param>
sealed record PublishAnswer(int LocalRecipients, long? Offset);

/// <param name="Connections">How many there are.</param>
sealed record CountAnswer(int Connections);

/// <summary>Written without reflection, which a trimmed or natively compiled app has to do without.</summary>
[JsonSourceGenerationOptions(JsonSerializerDefaults.Web)]
[JsonSerializable(typeof(PublishAnswer))]
[JsonSerializable(typeof(CountAnswer))]
sealed partial class DemoJson : JsonSerializerContext;
