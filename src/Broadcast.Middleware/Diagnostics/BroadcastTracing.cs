using System.Diagnostics;
using System.Reflection;
using System.Runtime.CompilerServices;

namespace Broadcast.Middleware.Diagnostics;

/// <summary>
/// Creates the spans of the activity source <c>Broadcast</c>. The tag <c>broadcast.name</c> of the source is the name
/// of the broadcast. docs/operations/traces.md lists the spans and all tags. The names follow the semantic conventions
/// of OpenTelemetry for messaging.
/// </summary>
/// <remarks>
/// Invariant: without a listener, a message costs only the check of <see cref="IsActive"/> and allocates no memory. No
/// method creates a span for each recipient of a message.
/// </remarks>
sealed class BroadcastTracing : IDisposable
{
    public const string SourceName = "Broadcast";

    const string Destination = "messaging.destination.name";
    const string BodySize = "messaging.message.body.size";

    // Only connections with a sampled handshake are in this table, so other connections need no memory for traces.
    readonly ConditionalWeakTable<object, ActivityLink[]> _handshakes = new();
    readonly ActivitySource _source;
    readonly string _name;

    /// <param name="name">The name of the broadcast.</param>
    /// <param name="sourceName">The name of the activity source.</param>
    public BroadcastTracing(string name, string sourceName = SourceName)
    {
        _name = name;
        _source = new ActivitySource(sourceName, GetVersion(), [new("broadcast.name", name)]);
    }

    /// <summary>True if the activity source has a listener.</summary>
    public bool IsActive => _source.HasListeners();

    /// <summary>
    /// The <c>traceparent</c> (W3C Trace Context) of the current span, for a message to other nodes. Null without a
    /// listener or without a sampled span.
    /// </summary>
    public string? TraceParent =>
        IsActive && Activity.Current is { Recorded: true, IdFormat: ActivityIdFormat.W3C } span ? span.Id : null;

    /// <summary>
    /// Stores the current span as the handshake span of a connection. The spans of the connection's messages link to
    /// the handshake span. The handshake span is not their parent, because the handshake span may have ended long ago.
    /// </summary>
    public void OnHandshake(object connection)
    {
        if (!IsActive || Activity.Current is not { Recorded: true } span) return;
        _handshakes.AddOrUpdate(connection, [new ActivityLink(span.Context)]);
    }

    /// <summary>Starts the span of a message from a client. Returns null if no listener wants the span.</summary>
    /// <param name="spanName">The name of the span.</param>
    /// <param name="template">The route pattern of the endpoint.</param>
    /// <param name="connection">The connection, as in the call of <see cref="OnHandshake"/>.</param>
    /// <param name="connectionId">The ID of the connection.</param>
    /// <param name="bytes">The size of the payload.</param>
    public Activity? StartMessage(string spanName, string template, object connection, string connectionId, int bytes)
    {
        _handshakes.TryGetValue(connection, out var links);
        var tags = CreateTags("process", "process");
        tags.Add("http.route", template);
        tags.Add("messaging.client.id", connectionId);
        tags.Add(BodySize, bytes);
        return _source.StartActivity(spanName, ActivityKind.Consumer, default(ActivityContext), tags, links);
    }

    /// <summary>
    /// Starts the span of a message that the app publishes, as a child of the current span. Returns null if no listener
    /// wants the span.
    /// </summary>
    /// <param name="bytes">The size of the payload.</param>
    public Activity? StartPublish(int bytes)
    {
        var tags = CreateTags("publish", "send");
        tags.Add(BodySize, bytes);
        return _source.StartActivity("publish", ActivityKind.Producer, default(ActivityContext), tags);
    }

    /// <summary>
    /// Creates the span of a message that this node has received from the backplane, as a child of the publisher's
    /// span. The caller creates the span after the delivery, because a listener must not run inside the caller's lock.
    /// </summary>
    /// <param name="publisher">The <see cref="TraceParent"/> of the publisher.</param>
    /// <param name="destination">The group of the message. Null for a message to a user or a connection.</param>
    /// <param name="startTime">The result of <see cref="GetTime"/> before the delivery.</param>
    public void Delivered(string publisher, string? destination, DateTimeOffset startTime)
    {
        if (!ActivityContext.TryParse(publisher, null, isRemote: true, out var parent)) return;
        var tags = CreateTags("deliver", "process");
        if (!string.IsNullOrEmpty(destination)) tags.Add(Destination, destination);
        _source.StartActivity("deliver", ActivityKind.Consumer, parent, tags, null, startTime)?.Dispose();
    }

    /// <summary>
    /// Returns the current time, or the default value without a listener. Spans always use the system clock.
    /// </summary>
    public DateTimeOffset GetTime() => IsActive ? TimeProvider.System.GetUtcNow() : default;

    /// <summary>
    /// Adds the recipients and the message ID as tags. Call this method after the filters, because a filter can change
    /// these values.
    /// </summary>
    /// <param name="span">The span.</param>
    /// <param name="recipients">The kind of the recipients.</param>
    /// <param name="destination">The group. Null if the recipients are not exactly one group.</param>
    /// <param name="messageId">The ID of the message. Null if the message has no ID.</param>
    public static void SetRecipients(Activity span, string recipients, string? destination, string? messageId)
    {
        span.SetTag("broadcast.recipients", recipients);
        if (destination is not null) span.SetTag(Destination, destination);
        if (messageId is not null) span.SetTag("messaging.message.id", messageId);
    }

    /// <summary>Adds the result of the operation.</summary>
    /// <param name="span">The span.</param>
    /// <param name="outcome">The result, such as <c>published</c>.</param>
    public static void SetOutcome(Activity span, string outcome) => span.SetTag("broadcast.outcome", outcome);

    /// <summary>Adds the number of recipients on this node.</summary>
    public static void SetLocalRecipients(Activity span, int count) =>
        span.SetTag("broadcast.local_recipients", count);

    /// <summary>
    /// Marks the span as failed. The span contains only the type of the exception, because the message of the exception
    /// may contain a part of the published message.
    /// </summary>
    public static void SetFailed(Activity? span, Exception exception) =>
        span?.SetStatus(ActivityStatusCode.Error).SetTag("error.type", exception.GetType().FullName);

    public void Dispose() => _source.Dispose();

    ActivityTagsCollection CreateTags(string operation, string operationType)
    {
        var tags = new ActivityTagsCollection
        {
            { "messaging.system", "broadcast" },
            { "messaging.operation.name", operation },
            { "messaging.operation.type", operationType },
        };
        if (_name.Length > 0) tags.Add("broadcast.name", _name);
        return tags;
    }

    static string? GetVersion() => typeof(BroadcastTracing).Assembly
        .GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion.Split('+')[0];
}
