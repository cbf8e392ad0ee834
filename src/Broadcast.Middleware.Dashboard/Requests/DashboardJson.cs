using System.Text.Json;
using System.Text.Json.Serialization;
using Broadcast.Middleware.Dashboard.Figures;

namespace Broadcast.Middleware.Dashboard.Requests;

/// <summary>
/// Serializes the messages of the dashboard without reflection, so that an app can be trimmed or compiled ahead of
/// time.
/// </summary>
[JsonSourceGenerationOptions(JsonSerializerDefaults.Web, NumberHandling = JsonNumberHandling.Strict)]
[JsonSerializable(typeof(DashboardRequest))]
[JsonSerializable(typeof(HelloReply))]
[JsonSerializable(typeof(Sample))]
[JsonSerializable(typeof(GroupsReply))]
[JsonSerializable(typeof(GroupReply))]
[JsonSerializable(typeof(NodesReply))]
[JsonSerializable(typeof(DoneReply))]
[JsonSerializable(typeof(ProblemReply))]
sealed partial class DashboardJson : JsonSerializerContext;
