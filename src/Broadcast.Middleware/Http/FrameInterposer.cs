using Broadcast.Middleware.Transports;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core;

namespace Broadcast.Middleware.Http;

/// <summary>
/// Replaces the upgrade features of the server during the handshake of ASP.NET Core, and keeps the upgraded stream.
/// </summary>
sealed class FrameInterposer(
    IFeatureCollection features, IHttpUpgradeFeature? upgrade, IHttpExtendedConnectFeature? connect)
    : IHttpUpgradeFeature, IHttpExtendedConnectFeature
{
    public static void Interpose(
        IFeatureCollection features, IHttpUpgradeFeature? upgrade, IHttpExtendedConnectFeature? connect)
    {
        var interposer = new FrameInterposer(features, upgrade, connect);
        if (upgrade is not null) features.Set<IHttpUpgradeFeature>(interposer);
        if (connect is not null) features.Set<IHttpExtendedConnectFeature>(interposer);
        features.Set<IHttpWebSocketFeature>(null);
    }

    /// <summary>
    /// Restores the features of the server, so that the connection does not keep the objects of the handshake in
    /// memory.
    /// </summary>
    public void Release()
    {
        if (upgrade is not null) features.Set(upgrade);
        if (connect is not null) features.Set(connect);
        features.Set<IHttpWebSocketFeature>(null);
    }

    /// <summary>The upgraded stream. Null before the upgrade.</summary>
    public Stream? Upgraded { get; private set; }

    /// <summary>
    /// The stream for the frames of the server: the upgraded stream, or the TLS stream below it. Null before the
    /// upgrade.
    /// </summary>
    public Stream? Output { get; private set; }

    /// <summary>The connection that the server can hand over. Null if the request must stay open.</summary>
    public HandoverConnection? Connection { get; private set; }

    public bool IsUpgradableRequest => upgrade is { IsUpgradableRequest: true };

    public bool IsExtendedConnect => connect is { IsExtendedConnect: true };

    public string? Protocol => connect?.Protocol;

    public async Task<Stream> UpgradeAsync()
    {
        Output = Upgraded = await upgrade!.UpgradeAsync();
        // Kestrel has sent the response of the handshake, so the library can read and write the bytes of the connection
        // directly. If middleware of the app has replaced the feature, for example to count bytes, use the stream of
        // the middleware.
        if (upgrade.GetType().Assembly != typeof(KestrelServerOptions).Assembly) return Upgraded;
        Connection = HandoverConnection.Find(features);
        Output = TlsStream.Find(features) ?? Upgraded;
        return Upgraded;
    }

    public async ValueTask<Stream> AcceptAsync() => Output = Upgraded = await connect!.AcceptAsync();
}
