using Microsoft.AspNetCore.Http.Features;

namespace Broadcast.Middleware;

/// <summary>
/// Takes the place of the server's upgrade features, so that the WebSocket which the framework makes after its handshake sits on
/// a <see cref="FrameStream"/>.
/// </summary>
sealed class FrameInterposer(IHttpUpgradeFeature? upgrade, IHttpExtendedConnectFeature? connect)
    : IHttpUpgradeFeature, IHttpExtendedConnectFeature
{
    /// <summary>To be set before the request is accepted.</summary>
    public ConnectionWriter? Writer { get; set; }

    /// <summary>The server's stream, once the request was accepted.</summary>
    public Stream? Upgraded { get; private set; }

    public bool IsUpgradableRequest => upgrade is { IsUpgradableRequest: true };

    public bool IsExtendedConnect => connect is { IsExtendedConnect: true };

    public string? Protocol => connect?.Protocol;

    public async Task<Stream> UpgradeAsync() => Interpose(await upgrade!.UpgradeAsync());

    public async ValueTask<Stream> AcceptAsync() => Interpose(await connect!.AcceptAsync());

    FrameStream Interpose(Stream upgraded)
    {
        Upgraded = upgraded;
        return new FrameStream(upgraded, Writer!);
    }
}
