using Broadcast.Middleware.Messages;

namespace Broadcast.Middleware.Logs;

/// <summary>
/// The properties of a log entry in addition to its bytes. The object is immutable. Most entries have no metadata.
/// </summary>
sealed class EntryMetadata
{
    EntryMetadata(Message message, ExcludedConnections? excluded)
    {
        Excluded = excluded;
        Sender = message.Sender;
        IsJson = message.IsJson;
        IsVerbatim = message.IsVerbatim;
        DisablesCompression = message.DisableCompression;
        Tags = message.Tags;
    }

    EntryMetadata(EntryMetadata? other)
    {
        Excluded = other?.Excluded;
        Sender = other?.Sender;
        IsJson = other is { IsJson: true };
        IsVerbatim = other is { IsVerbatim: true };
        DisablesCompression = other is { DisablesCompression: true };
        Tags = other?.Tags;
    }

    public EntryMetadata(ExcludedConnections? excluded) => Excluded = excluded;

    /// <summary>The connections that do not receive the entry. Null if every connection receives the entry.</summary>
    public ExcludedConnections? Excluded { get; }

    /// <summary>The client that sent the message. Null if the app or a raw client sent the message.</summary>
    public MessageSender? Sender { get; }

    public bool IsJson { get; }

    /// <summary>
    /// True if the entry is an answer to one connection, in the format of that connection's protocol.
    /// </summary>
    public bool IsVerbatim { get; }

    /// <summary>See <see cref="Message.DisableCompression"/>.</summary>
    public bool DisablesCompression { get; }

    /// <summary>See <see cref="Message.Tags"/>.</summary>
    public MessageTags? Tags { get; }

    /// <summary>
    /// True if the entry is in a private log, and its message is transient: see <see cref="Message.IsTransient"/>.
    /// Transient messages to a group are in a separate log: see <see cref="TransientLog"/>.
    /// </summary>
    public bool IsTransient { get; private init; }

    /// <summary>The approximate memory of the tags and of the excluded connections, in bytes.</summary>
    public long Cost
    {
        get
        {
            var cost = 0L;
            foreach (var id in Excluded?.Ids ?? []) cost += CostOf(id.Length);
            foreach (ref readonly var tag in Tags is null ? default : Tags.Span)
                cost += CostOf(tag.Key.Length + tag.Value.Length);
            return cost;
        }
    }

    /// <summary>
    /// True if a reader must check this entry, even without a subscription filter. False if the metadata only affects
    /// the encoding.
    /// </summary>
    public bool AffectsReaders => Excluded is not null || IsSentOnce || HasCopies;

    /// <summary>True if the server does not send the entry again after the client has reconnected.</summary>
    public bool IsSentOnce => IsVerbatim || IsTransient;

    /// <summary>
    /// The group of the message, if the entry is in a private log. Null for an entry in the log of its group, and for a
    /// message without a group.
    /// </summary>
    public string? SourceGroup { get; private init; }

    /// <summary>
    /// The token that all copies of the message share, if the publisher appends the copies at once. Null for other
    /// entries.
    /// </summary>
    public CommitToken? Commit { get; private init; }

    /// <summary>Describes this copy, if the copies of the message arrive one by one. Null for other entries.</summary>
    public EntryCopy? Copy { get; private init; }

    /// <summary>
    /// True if the message has copies in other logs. A reader of several of these logs takes only one copy.
    /// </summary>
    public bool HasCopies => Commit is not null || Copy is not null;

    /// <summary>False while the publisher still appends copies to other logs.</summary>
    public bool IsReadable => Commit is not { IsCommitted: false };

    /// <summary>Returns the metadata of a message. Returns null if the message needs no metadata.</summary>
    /// <param name="message">The message.</param>
    /// <param name="excluded">See <see cref="Excluded"/>.</param>
    /// <param name="group">See <see cref="SourceGroup"/>.</param>
    public static EntryMetadata? Create(Message message, ExcludedConnections? excluded, string? group = null) =>
        message is { IsJson: false, Sender: null, IsVerbatim: false, DisableCompression: false, Tags: null }
            && excluded is null && group is null
            ? null
            : new(message, excluded) { SourceGroup = group };

    /// <summary>Returns the metadata of a message in a private log: see <see cref="Create"/>.</summary>
    public static EntryMetadata? CreatePrivate(Message message, ExcludedConnections? excluded, string? group = null) =>
        message.IsTransient
            ? new(message, excluded) { SourceGroup = group, IsTransient = true }
            : Create(message, excluded, group);

    /// <summary>
    /// Creates metadata with a commit token, for a message that the publisher appends to several logs at once.
    /// </summary>
    public static EntryMetadata WithCommit(EntryMetadata? other, CommitToken commit) => new(other) { Commit = commit };

    /// <summary>Creates metadata that describes one copy of a message. The copies arrive one by one.</summary>
    public static EntryMetadata WithCopy(EntryMetadata? other, EntryCopy copy) => new(other) { Copy = copy };

    public bool Excludes(string connectionId) => Excluded is not null && Excluded.Contains(connectionId);

    static long CostOf(int characters) => (2 * characters) + Block.EntrySize;
}
