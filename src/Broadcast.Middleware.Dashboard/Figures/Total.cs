namespace Broadcast.Middleware.Dashboard.Figures;

/// <summary>A sum of measurements. Any thread may add a measurement.</summary>
sealed class Total
{
    long _value;
    long _last;

    public void Add(long value) => Interlocked.Add(ref _value, value);

    /// <summary>Sets the sum, for an instrument that reports its sum.</summary>
    public void Set(long value) => Volatile.Write(ref _value, value);

    /// <summary>Returns the increase since the last call. Only one thread may call this method.</summary>
    public long TakeIncrease()
    {
        var value = Volatile.Read(ref _value);
        var increase = value - _last;
        _last = value;
        return increase;
    }
}
