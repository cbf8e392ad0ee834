using System.Text.Json.Serialization;

namespace Broadcast.Middleware.Tests.Support;

[JsonSerializable(typeof(int))]
[JsonSerializable(typeof(string))]
sealed partial class JsonContext : JsonSerializerContext;
