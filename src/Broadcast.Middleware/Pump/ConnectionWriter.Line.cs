namespace Broadcast.Middleware;

/// <content>For a client that can come back: the connection goes on without a line, and then on another one.</content>
sealed partial class ConnectionWriter
{
    /// <summary>The client has everything up to this number, it says.</summary>
    public void OnAcknowledged(long sequence)
    {
        if (sequence <= Volatile.Read(ref _acknowledged)) return;
        Volatile.Write(ref _acknowledged, sequence);
        Pump.Post(this);
    }

    /// <summary>
    /// Stops until <see cref="ResumeAsync"/>. When the task ends, the sink is no longer in use; a write under way ends only if the line is cut.
    /// </summary>
    public Task SuspendAsync() => ChangeAsync(new(null, default));

    /// <summary>Begins to send on another line: the opening, then everything that has not been acknowledged. False if some of that is gone.</summary>
    public Task<bool> ResumeAsync(Sink sink, ReadOnlyMemory<byte> opening) => ChangeAsync(new(sink, opening));

    Task<bool> ChangeAsync(LineChange change)
    {
        Volatile.Write(ref _lineChange, change);
        Pump.Post(this);
        return change.Done.Task;
    }

    void Change(LineChange change)
    {
        if (change.Sink is null)
        {
            FailControlFrame();
            Volatile.Write(ref _sink, null);
            (_hasNoLine, _failed, _isClosing) = (true, false, false);
            Volatile.Write(ref _closeFrameSent, false);
            change.Done.SetResult(true);
            // What it has read since the last beat, and need not be sent again, is not to count.
            _reader.MoveBookmarks();
            Watch();
            return;
        }

        if (!_reader.TryRewind())
        {
            change.Done.SetResult(false);
            return;
        }

        (_hasNoLine, _keepAlive, _opening) = (false, default, change.Opening);
        Volatile.Write(ref _sink, change.Sink);
        change.Done.SetResult(true);
        Flush();
    }

    /// <summary>Without a line, a connection lasts only as long as its client could be sent everything.</summary>
    void Watch()
    {
        if (!_reader.CanRewind) connection.Session!.GiveUp();
    }

    void Acknowledge(Acknowledgements acknowledgements)
    {
        if (Volatile.Read(ref _acknowledged) is var acknowledged && acknowledged == _acknowledgedBefore) return;
        _acknowledgedBefore = acknowledged;
        if (!_reader.TryAcknowledge(acknowledged)) connection.CloseBadAcknowledgement(acknowledged);
        else if (acknowledged > acknowledgements.HighestBefore) connection.OnConfirmed();
    }

    /// <param name="Sink">The new line's; null for none.</param>
    /// <param name="Opening">What is sent on it first.</param>
    sealed record LineChange(Sink? Sink, ReadOnlyMemory<byte> Opening)
    {
        public TaskCompletionSource<bool> Done { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }
}
