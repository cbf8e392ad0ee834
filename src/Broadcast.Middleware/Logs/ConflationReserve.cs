namespace Broadcast.Middleware.Logs;

/// <summary>
/// Additional log capacity, which logs need if an endpoint uses <see cref="SlowConsumer.Conflate"/>. All logs of a
/// broadcast share this object, because the app may map such an endpoint after the creation of a log.
/// </summary>
/// <param name="maxBytes">The additional capacity after <see cref="Enable"/>.</param>
sealed class ConflationReserve(int maxBytes)
{
    volatile bool _isEnabled;

    public long Bytes => _isEnabled ? maxBytes : 0;

    public void Enable() => _isEnabled = true;
}
