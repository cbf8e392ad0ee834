using System.Runtime.CompilerServices;

namespace Broadcast.Middleware.Delivery;

/// <summary>The result of <see cref="IBroadcaster.ReadAsync"/>. Each enumeration has its own reader.</summary>
sealed class GroupMessages(
    GroupReaders readers, string group, Replay replay, SlowConsumer whenSlow, CancellationToken cancellationToken)
    : IAsyncEnumerable<ReceivedMessage>
{
    public IAsyncEnumerator<ReceivedMessage> GetAsyncEnumerator(CancellationToken token = default)
    {
        if (!token.CanBeCanceled || token == cancellationToken) return new Enumerator(this, null, cancellationToken);
        if (!cancellationToken.CanBeCanceled) return new Enumerator(this, null, token);
        var linked = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, token);
        return new Enumerator(this, linked, linked.Token);
    }

    sealed class Enumerator(GroupMessages messages, CancellationTokenSource? linked, CancellationToken token)
        : IAsyncEnumerator<ReceivedMessage>
    {
        GroupReader? _reader; // Null before the first read and after the end of the enumeration.
        ReceivedMessage _current;
        bool _isStarted; // Stays true after the end, so that the enumerator does not start again.

        /// <summary>
        /// Ends the reader of an enumerator that the app has not disposed. The group references the reader, but not the
        /// enumerator.
        /// </summary>
        ~Enumerator()
        {
            linked?.Dispose();
            if (_reader is not { } reader) return;
            ThreadPool.UnsafeQueueUserWorkItem(static reader => reader.Dispose(), reader, preferLocal: false);
        }

        public ReceivedMessage Current => _current;

        public ValueTask<bool> MoveNextAsync()
        {
            if (token.IsCancellationRequested) return CancelAsync();
            return _reader?.TryRead(out _current) is true ? new(true) : WaitAsync();
        }

        public ValueTask DisposeAsync()
        {
            End();
            GC.SuppressFinalize(this);
            return default;
        }

        // An enumerator waits many times. The pooling builder reuses the state machine of this method.
        [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
        async ValueTask<bool> WaitAsync()
        {
            _current = default;
            if (!_isStarted)
            {
                _isStarted = true;
                _reader = await messages.OpenAsync(token).ConfigureAwait(false);
                if (_reader?.TryRead(out _current) is true) return true;
            }

            if (_reader is not { } reader) return false;
            if (await reader.WaitAsync().ConfigureAwait(false)) return reader.TryRead(out _current);
            End();
            return false;
        }

        ValueTask<bool> CancelAsync()
        {
            End();
            return ValueTask.FromCanceled<bool>(token);
        }

        void End()
        {
            _isStarted = true;
            _reader?.Dispose();
            _reader = null;
            linked?.Dispose();
        }
    }

    ValueTask<GroupReader?> OpenAsync(CancellationToken token) => readers.OpenAsync(group, replay, whenSlow, token);
}
