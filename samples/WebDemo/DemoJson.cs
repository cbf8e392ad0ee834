using System.Text.Json;
using System.Text.Json.Serialization;

namespace WebDemo;

/// <summary>Serializes the demo's messages without reflection, so the app can be trimmed or compiled ahead of time.</summary>
[JsonSourceGenerationOptions(
    JsonSerializerDefaults.Web, NumberHandling = JsonNumberHandling.Strict, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(Person))]
[JsonSerializable(typeof(Quote))]
[JsonSerializable(typeof(BoardMessage))]
[JsonSerializable(typeof(PublishResponse))]
[JsonSerializable(typeof(CountResponse))]
[JsonSerializable(typeof(Dictionary<ushort, string>))]
[JsonSerializable(typeof(SensorReading))]
[JsonSerializable(typeof(LoginRequest))]
[JsonSerializable(typeof(LoginResponse))]
[JsonSerializable(typeof(LiveFigures))]
[JsonSerializable(typeof(Cursor))]
[JsonSerializable(typeof(LoadFigures))]
sealed partial class DemoJson : JsonSerializerContext;
