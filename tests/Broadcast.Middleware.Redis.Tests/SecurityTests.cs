using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Broadcast.Middleware.Contracts;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Tests;

public sealed class SecurityTests : IAsyncDisposable
{
    readonly Nodes _nodes = new();

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_password_lets_in_and_another_does_not()
    {
        await using var redis = await RedisServer.StartAsync("--requirepass", "right");
        await WorksAsync(await _nodes.CreateAsync($"{redis.Configuration},password=right", _ => { }));
        var stranger = await _nodes.CreateAsync($"{redis.Configuration},password=wrong", options => options.PublishTimeout = TimeSpan.FromMilliseconds(500));
        stranger.Start(new Listener(stranger, TimeSpan.FromSeconds(10)));
        await Assert.ThrowsAsync<BackplaneException>(() => stranger.PublishAsync("/a", "x"u8.ToArray(), null, Token).AsTask());
        await _nodes.DisposeAsync();
    }

    [Fact]
    public async Task It_works_over_TLS()
    {
        RedisServer.SkipWhereThereIsNone();
        var directory = Directory.CreateTempSubdirectory("broadcast-tls-").FullName;
        var (certificate, key) = (Path.Combine(directory, "certificate.pem"), Path.Combine(directory, "key.pem"));
        Write(certificate, key);
        var secure = RedisServer.FreePort();
        await using var redis = await RedisServer.StartAsync(
            "--tls-port", $"{secure}", "--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", certificate, "--tls-auth-clients", "no");
        var options = ConfigurationOptions.Parse($"127.0.0.1:{secure},ssl=true,sslHost=localhost");
        options.TrustIssuer(certificate);
        await using var connection = await ConnectionMultiplexer.ConnectAsync(options);
        await WorksAsync(await _nodes.CreateAsync(connection, _ => { }));
        await _nodes.DisposeAsync();
        Directory.Delete(directory, recursive: true);
    }

    public async ValueTask DisposeAsync() => await _nodes.DisposeAsync();

    static async Task WorksAsync(IBackplane backplane)
    {
        var node = new Listener(backplane, TimeSpan.FromSeconds(20));
        backplane.Start(node);
        await node.SubscribeAsync("/a");
        await node.PublishAsync("/a", "hello");
        await node.HeardAsync("/a", 1);
    }

    static void Write(string certificate, string key)
    {
        using var rsa = RSA.Create(2048);
        var request = new CertificateRequest("CN=localhost", rsa, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(certificateAuthority: true, false, 0, true));
        var names = new SubjectAlternativeNameBuilder();
        names.AddDnsName("localhost");
        names.AddIpAddress(IPAddress.Loopback);
        request.CertificateExtensions.Add(names.Build());
        using var own = request.CreateSelfSigned(DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddDays(1));
        File.WriteAllText(certificate, own.ExportCertificatePem());
        File.WriteAllText(key, rsa.ExportPkcs8PrivateKeyPem());
    }
}
