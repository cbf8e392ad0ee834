using System.IO.Pipelines;
using System.Net;
using System.Net.Sockets;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Http.Features;

namespace Broadcast.Middleware.Transports;

/// <summary>
/// A connection that Kestrel serves first. After the WebSocket handshake, the library can take the connection over.
/// Kestrel then disposes this object, but the socket stays open.
/// </summary>
/// <remarks>
/// Invariant: after <see cref="HandOver"/>, calls of Kestrel have no effect on the socket. Before the handover, only
/// one side at a time uses the pipes: Kestrel until the end of the handshake, and then the library.
/// </remarks>
sealed class HandoverConnection
    : ConnectionContext, IDuplexPipe, IConnectionTransportFeature, IConnectionItemsFeature, IConnectionLifetimeFeature
{
    readonly ConnectionContext _connection;
    readonly HandoverListener _listener;
    readonly HandoverOptions _options;
    readonly InlineWriter? _inlineWriter;
    bool _isHandedOver;

    public HandoverConnection(ConnectionContext connection, HandoverListener listener, HandoverOptions options)
    {
        (_connection, _listener, _options) = (connection, listener, options);
        if (options.SendsInline && Socket is { } socket) _inlineWriter = InlineWriter.Create(connection, socket);
        Input = new Reader(this);
        Output = new Writer(this);
        Transport = this;
        // Kestrel and middleware add features. These features must not stay in memory after the handover. So this
        // connection has its own collection instead of the collection of the inner connection.
        var features = new FeatureCollection(connection.Features);
        features.Set(this);
        features.Set<IConnectionTransportFeature>(this);
        features.Set<IConnectionItemsFeature>(this);
        features.Set<IConnectionLifetimeFeature>(this);
        Features = features;
    }

    /// <summary>The input for Kestrel.</summary>
    public PipeReader Input { get; }

    /// <summary>The output for Kestrel.</summary>
    public PipeWriter Output { get; }

    /// <summary>The socket. Null if the transport uses no socket.</summary>
    public Socket? Socket => _connection.Features.Get<IConnectionSocketFeature>()?.Socket;

    public override string ConnectionId
    {
        get => _connection.ConnectionId;
        set => _connection.ConnectionId = value;
    }

    public override IFeatureCollection Features { get; }

    public override IDictionary<object, object?> Items { get => field ??= new ConnectionItems(); set; }

    public override IDuplexPipe Transport { get; set; }

    public override EndPoint? LocalEndPoint
    {
        get => _connection.LocalEndPoint;
        set => _connection.LocalEndPoint = value;
    }

    public override EndPoint? RemoteEndPoint
    {
        get => _connection.RemoteEndPoint;
        set => _connection.RemoteEndPoint = value;
    }

    public override CancellationToken ConnectionClosed
    {
        get => _connection.ConnectionClosed;
        set => _connection.ConnectionClosed = value;
    }

    /// <summary>True if the connection sends data on the thread that flushes the data.</summary>
    public bool SendsInline => _inlineWriter is not null;

    /// <summary>The bytes of the client. Kestrel must not read after the library has started to read.</summary>
    public PipeReader ClientInput => _connection.Transport.Input;

    /// <summary>The output to the client. Kestrel must not write after the library has started to write.</summary>
    public PipeWriter ClientOutput => _inlineWriter ?? _connection.Transport.Output;

    /// <summary>
    /// Finds the connection of an HTTP/1.1 request. Returns null if the server does not hand over connections. Also
    /// returns null if middleware changes the bytes between the HTTP request and the socket, as TLS does.
    /// </summary>
    public static HandoverConnection? Find(IFeatureCollection requestFeatures) =>
        requestFeatures.Get<HandoverConnection>() is { _options.HandsOver: true } connection
        && ReferenceEquals(requestFeatures.Get<IConnectionTransportFeature>()?.Transport, connection)
            ? connection
            : null;

    /// <summary>
    /// Takes the connection over. Afterwards, the request can end, and the caller must call
    /// <see cref="HandedOverConnection.EndAsync"/> and <see cref="HandedOverConnection.Release"/>.
    /// </summary>
    /// <returns>The connection without the objects of Kestrel.</returns>
    public HandedOverConnection HandOver()
    {
        _listener.Retain();
        Volatile.Write(ref _isHandedOver, true);
        return new HandedOverConnection(_connection, _inlineWriter, _listener);
    }

    public override void Abort(ConnectionAbortedException abortReason)
    {
        if (!Volatile.Read(ref _isHandedOver)) _connection.Abort(abortReason);
    }

    public override async ValueTask DisposeAsync()
    {
        await base.DisposeAsync();
        if (Volatile.Read(ref _isHandedOver)) return;
        if (_inlineWriter is not null) await _inlineWriter.FinishAsync();
        await _connection.DisposeAsync();
    }

    /// <summary>The input for Kestrel. After the handover, the input ends.</summary>
    sealed class Reader(HandoverConnection connection) : PipeReader
    {
        static ReadResult End => new(default, isCanceled: false, isCompleted: true);

        PipeReader Inner => connection.ClientInput;

        bool IsHandedOver => Volatile.Read(ref connection._isHandedOver);

        public override ValueTask<ReadResult> ReadAsync(CancellationToken cancellationToken = default) =>
            IsHandedOver ? new(End) : Inner.ReadAsync(cancellationToken);

        public override bool TryRead(out ReadResult result)
        {
            if (!IsHandedOver) return Inner.TryRead(out result);
            result = End;
            return true;
        }

        public override void AdvanceTo(SequencePosition consumed)
        {
            if (!IsHandedOver) Inner.AdvanceTo(consumed);
        }

        public override void AdvanceTo(SequencePosition consumed, SequencePosition examined)
        {
            if (!IsHandedOver) Inner.AdvanceTo(consumed, examined);
        }

        public override void CancelPendingRead()
        {
            if (!IsHandedOver) Inner.CancelPendingRead();
        }

        public override void Complete(Exception? exception = null)
        {
            if (!IsHandedOver) Inner.Complete(exception);
        }
    }

    /// <summary>The output for Kestrel. After the handover, the writer drops all bytes.</summary>
    sealed class Writer(HandoverConnection connection) : PipeWriter
    {
        PipeWriter Inner => connection.ClientOutput;

        bool IsHandedOver => Volatile.Read(ref connection._isHandedOver);

        public override bool CanGetUnflushedBytes => Inner.CanGetUnflushedBytes;

        public override long UnflushedBytes => IsHandedOver ? 0 : Inner.UnflushedBytes;

        public override Memory<byte> GetMemory(int sizeHint = 0) =>
            IsHandedOver ? new byte[Math.Max(sizeHint, 256)] : Inner.GetMemory(sizeHint);

        public override Span<byte> GetSpan(int sizeHint = 0) => GetMemory(sizeHint).Span;

        public override void Advance(int bytes)
        {
            if (!IsHandedOver) Inner.Advance(bytes);
        }

        public override ValueTask<FlushResult> FlushAsync(CancellationToken cancellationToken = default) =>
            IsHandedOver ? new(default(FlushResult)) : Inner.FlushAsync(cancellationToken);

        public override ValueTask<FlushResult> WriteAsync(
            ReadOnlyMemory<byte> source, CancellationToken cancellationToken = default) =>
            IsHandedOver ? new(default(FlushResult)) : Inner.WriteAsync(source, cancellationToken);

        public override void CancelPendingFlush()
        {
            if (!IsHandedOver) Inner.CancelPendingFlush();
        }

        public override void Complete(Exception? exception = null)
        {
            if (!IsHandedOver) Inner.Complete(exception);
        }
    }
}
