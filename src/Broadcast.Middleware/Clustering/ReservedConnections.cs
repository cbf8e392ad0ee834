namespace Broadcast.Middleware.Clustering;

/// <summary>
/// The connections that receive a message with an ID to a user. The first publish stores these connections in the
/// cluster, and a repeated publish sends the message to the same connections. A connection never moves to another node,
/// so the node of the connection can drop the repeated message.
/// </summary>
/// <param name="Nodes">The IDs of the connections on each node.</param>
sealed record ReservedConnections(IReadOnlyDictionary<string, IReadOnlyCollection<string>> Nodes)
{
    /// <summary>Returns the connections on a node.</summary>
    public IReadOnlyCollection<string> On(string node) => Nodes.GetValueOrDefault(node) ?? [];

    public static ReadOnlyMemory<byte> Encode(IEnumerable<(string Node, string Connection)> connections)
    {
        var writer = new NodeWriter(128);
        writer.WriteVersion();
        foreach (var node in connections.GroupBy(static entry => entry.Node, static entry => entry.Connection))
        {
            writer.Write(node.Key);
            writer.Write([.. node.Distinct()]);
        }

        return writer.Written;
    }

    /// <exception cref="InvalidDataException">The bytes are invalid.</exception>
    public static ReservedConnections Decode(ReadOnlyMemory<byte> bytes)
    {
        var reader = new NodeReader(bytes);
        reader.ReadVersion();
        var nodes = new Dictionary<string, IReadOnlyCollection<string>>(StringComparer.Ordinal);
        while (!reader.Rest.IsEmpty) nodes[reader.ReadString()] = reader.ReadStrings();
        return new(nodes);
    }
}
