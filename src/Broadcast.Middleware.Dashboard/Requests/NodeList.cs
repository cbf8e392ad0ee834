using System.Text.Json;
using Broadcast.Middleware.Dashboard.Diagnostics;
using Broadcast.Middleware.Diagnostics;
using Microsoft.Extensions.Hosting;

namespace Broadcast.Middleware.Dashboard.Requests;

/// <summary>
/// The nodes of the cluster that have a dashboard. Each node stores its figures as a member of an internal group of the
/// cluster. Without a cluster, the list contains only this node.
/// </summary>
sealed class NodeList
{
    // The name starts with a control character, so an app cannot use this name.
    const string Group = "\u0001dashboard";
    const int MaxNodes = 100;

    static readonly TimeSpan UpdateInterval = TimeSpan.FromSeconds(10);

    readonly IBackplane? _backplane;
    readonly string? _id;
    readonly Func<int> _countConnections;
    readonly Func<int> _countGroups;
    readonly DashboardLogger _logger;
    readonly long _started;
    byte[] _announced = [];
    ITimer? _timer;

    /// <param name="backplane">The backplane. Null without a cluster.</param>
    /// <param name="id">The ID of this node. Null without a cluster.</param>
    /// <param name="countConnections">Returns the number of connections of this node.</param>
    /// <param name="countGroups">Returns the number of groups of this node.</param>
    /// <param name="lifetime">The lifetime of the app.</param>
    /// <param name="time">The time provider.</param>
    /// <param name="logger">The logger.</param>
    public NodeList(
        IBackplane? backplane,
        string? id,
        Func<int> countConnections,
        Func<int> countGroups,
        IHostApplicationLifetime? lifetime,
        TimeProvider time,
        DashboardLogger logger)
    {
        _logger = logger;
        (_backplane, _id) = (backplane, id);
        _countConnections = countConnections;
        _countGroups = countGroups;
        _started = time.GetUtcNow().ToUnixTimeMilliseconds();
        if (backplane is null || lifetime is null) return;
        lifetime.ApplicationStarted.Register(() =>
        {
            Announce();
            _timer = BackgroundWork.CreateTimer(
                time, static list => ((NodeList)list!).Announce(), this, UpdateInterval, UpdateInterval);
        });
        lifetime.ApplicationStopping.Register(() =>
        {
            _timer?.Dispose();
            backplane.RemoveMember(Group, id!);
        });
    }

    public bool IsCluster => _backplane is not null;

    /// <summary>The name of this node: the computer name and the process ID.</summary>
    public string OwnName { get; } = $"{Environment.MachineName}:{Environment.ProcessId}";

    /// <summary>Returns the nodes in the order of their names.</summary>
    /// <exception cref="BackplaneException">The cluster is unreachable.</exception>
    public async ValueTask<NodesReply> ListAsync(long id, CancellationToken cancellationToken)
    {
        var nodes = new List<NodeItem> { Describe(isThis: true) };
        if (_backplane is not null)
        {
            var members = await _backplane.GetMembersAsync(Group, cancellationToken);
            nodes.AddRange(members.Where(member => member.Name != _id).Select(Parse).OfType<NodeItem>().Take(MaxNodes));
        }

        return new NodesReply { Id = id, Nodes = [.. nodes.OrderBy(static node => node.Name, StringComparer.Ordinal)] };
    }

    /// <summary>
    /// Parses the figures of a node. Returns null if a node with another version has stored another format.
    /// </summary>
    static NodeItem? Parse(BackplaneMember member)
    {
        try
        {
            return JsonSerializer.Deserialize(member.Value.Span, DashboardJson.Default.NodeItem);
        }
        catch (JsonException)
        {
            return null;
        }
    }

    void Announce()
    {
        var value = JsonSerializer.SerializeToUtf8Bytes(Describe(isThis: false), DashboardJson.Default.NodeItem);
        if (value.AsSpan().SequenceEqual(_announced)) return;
        _announced = value;
        try
        {
            _backplane!.SetMember(Group, _id!, value);
        }
        catch (Exception exception)
        {
            // The contract of IBackplane forbids exceptions here. If an implementation throws anyway, the app must
            // continue.
            _logger.AnnounceFailed(exception);
        }
    }

    NodeItem Describe(bool isThis) => new()
    {
        Name = OwnName,
        Started = _started,
        Connections = _countConnections(),
        Groups = _countGroups(),
        IsThis = isThis,
    };
}
