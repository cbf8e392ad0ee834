namespace Broadcast.Middleware.Tests.Support;

/// <summary>A fake transport that records whether the server aborted the transport.</summary>
sealed class FakeRequest : ConnectionTransport
{
    volatile bool _isAborted;

    public string? UserId { get; set; }

    public bool IsAborted => _isAborted;

    public override CancellationToken ClientGone => CancellationToken.None;

    protected override void AbortCore() => _isAborted = true;
}
