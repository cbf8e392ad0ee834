using Microsoft.AspNetCore.Http.Features;

namespace Broadcast.Middleware;

/// <summary>
/// Takes the place of the server's upgrade features, so that the WebSocket which the framework makes after its handshake sits on
/// a <see cref="FrameStream"/>.
/// </summary>
sealed class FrameInterposer(IHttpUpgradeFeature? upgrade, IHttpExtendedConnectFeature? connect)
    : IHttpUpgradeFeature, IHttpExtendedConnectFeature
{
    public static void Interpose(IFeatureCollection features, IHttpUpgradeFeature? upgrade, IHttpExtendedConnectFeature? connect)
    {
        var interposer = new FrameInterposer(upgrade, connect);
        if (upgrade is not null) features.Set<IHttpUpgradeFeature>(interposer);
        if (connect is not null) features.Set<IHttpExtendedConnectFeature>(interposer);
        features.Set<IHttpWebSocketFeature>(null);
    }

    /// <summary>Puts back what the server had there. Nothing of the handshake is kept for as long as the connection lasts.</summary>
    public void Release(IFeatureCollection features)
    {
        if (upgrade is not null) features.Set(upgrade);
        if (connect is not null) features.Set(connect);
        features.Set<IHttpWebSocketFeature>(null);
    }

    /// <summary>The server's stream, once the request was accepted.</summary>
    public Stream? Upgraded { get; private set; }

    /// <summary>What the WebSocket sits on.</summary>
    public FrameStream? Frames { get; private set; }

    public bool IsUpgradableRequest => upgrade is { IsUpgradableRequest: true };

    public bool IsExtendedConnect => connect is { IsExtendedConnect: true };

    public string? Protocol => connect?.Protocol;

    public async Task<Stream> UpgradeAsync() => Interpose(await upgrade!.UpgradeAsync());

    public async ValueTask<Stream> AcceptAsync() => Interpose(await connect!.AcceptAsync());

    FrameStream Interpose(Stream upgraded)
    {
        Upgraded = upgraded;
        return Frames = new FrameStream(upgraded);
    }
}
