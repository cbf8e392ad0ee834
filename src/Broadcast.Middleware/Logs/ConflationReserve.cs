namespace Broadcast.Middleware.Logs;

/// <summary>
/// The capacity that logs need in addition while an endpoint conflates. All logs of a broadcast share it. The app may
/// map an endpoint after a log was created.
/// </summary>
/// <param name="maxBytes">The capacity after <see cref="Enable"/>.</param>
sealed class ConflationReserve(int maxBytes)
{
    volatile bool _isEnabled;

    public long Bytes => _isEnabled ? maxBytes : 0;

    public void Enable() => _isEnabled = true;
}
