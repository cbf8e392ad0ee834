using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Testing;

namespace Broadcast.Middleware.Redis.Tests.Infrastructure;

/// <summary>Records all log messages of a node, including the messages of StackExchange.Redis.</summary>
sealed class LogRecorder
{
    readonly FakeLogCollector _collector = new();

    public string[] Warnings =>
        [.. Records.Where(record => record.Level >= LogLevel.Warning).Select(record => record.Message)];

    IReadOnlyList<FakeLogRecord> Records => _collector.GetSnapshot();

    public TestNode StartNode(NodeFactory nodes, string configuration, Action<RedisBackplaneOptions>? configure = null) =>
        StartNode(nodes, builder => builder.AddRedis(configuration, options =>
        {
            options.Prefix = "test";
            options.PublishTimeout = TimeSpan.FromSeconds(20);
            options.NodeTimeout = TimeSpan.FromSeconds(15);
            configure?.Invoke(options);
        }));

    public TestNode StartNode(NodeFactory nodes, Action<IBroadcastBuilder> addRedis) =>
        new(nodes.Create(builder =>
        {
            builder.Services.AddLogging(logging => logging
                .AddProvider(new FakeLoggerProvider(_collector))
                .SetMinimumLevel(LogLevel.Trace));
            addRedis(builder);
        }));

    /// <summary>Returns all values of all records: the text, the exception and the structured state.</summary>
    /// <remarks>
    /// If the node has removed a secret from a record, the state of the record is only text, without structured values.
    /// </remarks>
    public string GetEverything() => string.Join('\n', Records.Select(record =>
        $"{record.Message}\n{record.Exception}\n" +
        string.Join('\n', (record.State as IEnumerable<KeyValuePair<string, string?>>)?.Select(pair => $"{pair.Key}={pair.Value}") ?? [])));
}
