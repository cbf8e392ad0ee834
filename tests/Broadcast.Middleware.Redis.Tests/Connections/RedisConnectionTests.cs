using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Broadcast.Middleware.Redis.Storage;
using Broadcast.Middleware.Redis.Tests.Infrastructure;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Tests.Connections;

public sealed class RedisConnectionTests : RedisTest
{
    protected override bool StartsRedis => false;

    [Fact]
    public async Task Node_StartedBeforeRedis_CompletesOperationsWhenRedisStarts()
    {
        var node = StartNode(configure: options => options.PublishTimeout = TimeSpan.FromMinutes(1));
        var subscribe = node.SubscribeAsync(Group);
        node.Backplane.SetMember(Group, "m", default);
        var count = node.Backplane.CountMembersAsync(Group, Token).AsTask();
        Assert.False(subscribe.IsCompleted);
        await Redis.StartAsync();
        Assert.Equal(0, (await subscribe).Position.Offset);
        Assert.Equal(1, await count);
        await node.PublishAsync(Group, "hello");
        await node.WaitForMessagesAsync(Group, 1);
    }

    [Fact]
    public async Task Password_Correct_IsAccepted()
    {
        await Redis.StartAsync("--requirepass", "right");
        await AssertWorksAsync(StartNode($"{Redis.Configuration},password=right"));
    }

    [Fact]
    public async Task Password_Wrong_IsRejected()
    {
        await Redis.StartAsync("--requirepass", "right");
        var node = StartNode(
            $"{Redis.Configuration},password=wrong",
            options => options.PublishTimeout = TimeSpan.FromMilliseconds(500));
        await Assert.ThrowsAsync<BackplaneException>(() => node.PublishAsync(Group, "x"));
    }

    [Fact]
    public async Task Tls_WithTrustedCertificate_Connects()
    {
        var (port, certificate) = await StartWithTlsAsync();
        var options = ConfigurationOptions.Parse($"127.0.0.1:{port},ssl=true,sslHost=localhost");
        options.TrustIssuer(certificate);
        // On a busy machine, the TLS handshake can take longer than the default timeout of 5 seconds.
        options.ConnectTimeout = 60_000;
        await using var connection = await ConnectionMultiplexer.ConnectAsync(options);
        await AssertWorksAsync(new(Nodes.Create(connection)));
        Directory.Delete(Path.GetDirectoryName(certificate)!, recursive: true);
    }

    [Fact]
    public async Task Tls_WithUntrustedCertificate_ErrorNamesCertificate()
    {
        var (port, certificate) = await StartWithTlsAsync();
        var node = StartNode(
            $"127.0.0.1:{port},ssl=true,sslHost=localhost", options => options.PublishTimeout = TimeSpan.FromSeconds(1));
        await TestNode.WaitForErrorAsync(() => node.PublishAsync(Group, "x"), "Check the certificate of Redis");
        Directory.Delete(Path.GetDirectoryName(certificate)!, recursive: true);
    }

    [Fact]
    public async Task Scripts_FlushedByRedis_AreLoadedAgain()
    {
        await Redis.StartAsync();
        var node = StartNode();
        await node.SubscribeAsync(Group);
        await using var connection = await Redis.ConnectAsync();
        for (var i = 1; i <= 20; i++)
        {
            await connection.GetServers()[0].ExecuteAsync("SCRIPT", "FLUSH");
            await Task.WhenAll(node.PublishAsync(Group, $"{i}"), node.PublishAsync("/b", $"{i}"));
        }

        await node.WaitForMessagesAsync(Group, 20);
        Assert.Equal(
            Enumerable.Range(1, 20).Select(i => (long)i),
            node.GetReceived(Group).Select(received => received.Position.Offset));
    }

    [Theory]
    [InlineData("")]
    [InlineData(",protocol=resp2")]
    public async Task Connection_NoDataFromRedis_IsReplacedBeforeNodeTimeout(string settings)
    {
        await Redis.StartAsync();
        var proxy = CreateProxy();
        // StackExchange.Redis replaces a silent connection after 7 to 10 seconds.
        static void SetTimeouts(RedisBackplaneOptions options) =>
            (options.NodeTimeout, options.CheckInterval) = (TimeSpan.FromSeconds(15), TimeSpan.FromSeconds(2));
        var silent = StartNode(proxy.Configuration + settings, SetTimeouts);
        var other = StartNode(configure: SetTimeouts);
        foreach (var node in new[] { silent, other }) await node.SubscribeAsync(Group);
        silent.Backplane.SetMember(Group, "m", default);
        await TestNode.EventuallyAsync(
            async () => await other.Backplane.CountMembersAsync(Group, Token) == 1, "The member is listed.");
        await other.PublishAsync(Group, "0");
        await silent.WaitForMessagesAsync(Group, 1);
        await using (var direct = await Redis.ConnectAsync())
        {
            var heartbeat = new KeySpace("test", "", 0, []).Heartbeat(silent.NodeName!);
            ((RedisBackplane)silent.Backplane).Heartbeat.RenewSoon();
            await TestNode.EventuallyAsync(
                async () => await direct.GetDatabase().KeyTimeToLiveAsync(heartbeat) > TimeSpan.FromSeconds(14),
                "The node has just renewed its heartbeat.");
        }

        proxy.Silence();
        for (var i = 1; i <= 50; i++) await other.PublishAsync(Group, $"{i}");
        // The member remains listed only while the node renews its heartbeat in time.
        var minMembers = 1L;
        await TestNode.EventuallyAsync(
            async () =>
            {
                minMembers = Math.Min(minMembers, await other.Backplane.CountMembersAsync(Group, Token));
                return silent.GetReceived(Group).Length == 51;
            },
            "The node receives all messages.");
        Assert.Equal(other.GetReceived(Group), silent.GetReceived(Group));
        Assert.Equal((1, 0), (minMembers, silent.GetLossCount(Group)));
        await silent.PublishAsync(Group, "51");
    }

    [Fact]
    public async Task Dispose_WithoutRedis_CompletesAndFailsPublishes()
    {
        var node = StartNode(configure: options => options.PublishTimeout = TimeSpan.FromHours(1));
        var publish = node.PublishAsync(Group, "");
        node.Backplane.SetMember(Group, "m", default);
        var dispose = ((IAsyncDisposable)node.Backplane).DisposeAsync().AsTask();
        await dispose.WaitAsync(TimeSpan.FromSeconds(30), Token);
        await Assert.ThrowsAsync<BackplaneException>(() => publish);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Dispose_WhileRedisIsSuspended_FailsAllOperations(bool usesOwnConnection)
    {
        await Redis.StartAsync();
        static void WaitLong(RedisBackplaneOptions options) => options.PublishTimeout = TimeSpan.FromHours(1);
        // The other timeouts keep their defaults, because Redis answers nothing while it is suspended.
        await using var connection = await ConnectionMultiplexer.ConnectAsync($"{Redis.Configuration},connectTimeout=60000");
        var node = new TestNode(usesOwnConnection
            ? Nodes.Create(connection, WaitLong)
            : Nodes.Create(Redis.Configuration, WaitLong));
        await node.SubscribeAsync(Group);
        await node.PublishAsync(Group, "1");
        await Redis.SuspendAsync();
        Task[] waiting =
        [
            .. Enumerable.Range(0, 100).Select(i => node.PublishAsync(i % 2 == 0 ? Group : $"/{i}", $"{i}")),
            node.SubscribeAsync("/b"),
            node.Backplane.CountMembersAsync(Group, Token).AsTask(),
        ];
        node.Backplane.SetMember(Group, "m", default);
        Assert.NotEqual(0, node.Outbox.Bytes);
        // Each limit is far below the PublishTimeout of one hour, and high enough for a busy machine.
        var dispose = ((IAsyncDisposable)node.Backplane).DisposeAsync().AsTask();
        await dispose.WaitAsync(TimeSpan.FromSeconds(30), Token);
        foreach (var task in waiting)
        {
            var error = await Assert.ThrowsAsync<BackplaneException>(
                () => task.WaitAsync(TimeSpan.FromSeconds(30), Token));
            Assert.Contains("has stopped", error.Message, StringComparison.Ordinal);
        }

        Assert.Equal(0, node.Outbox.Bytes);
        await Redis.ResumeAsync();
        Func<Task>[] operations = [() => node.PublishAsync(Group, ""), () => node.SubscribeAsync("/c")];
        foreach (var operation in operations)
        {
            var error = await Assert.ThrowsAsync<BackplaneException>(operation);
            Assert.Contains("has stopped", error.Message, StringComparison.Ordinal);
        }

        await Redis.WaitForNoSubscribersAsync();
    }

    static async Task AssertWorksAsync(TestNode node)
    {
        await node.SubscribeAsync(Group);
        await node.PublishAsync(Group, "hello");
        await node.WaitForMessagesAsync(Group, 1);
    }

    async Task<(int Port, string Certificate)> StartWithTlsAsync()
    {
        var directory = Directory.CreateTempSubdirectory("broadcast-tls-").FullName;
        var (certificate, key) = (Path.Combine(directory, "certificate.pem"), Path.Combine(directory, "key.pem"));
        CreateCertificate(certificate, key);
        var port = TestPorts.Allocate();
        await Redis.StartAsync(
            "--tls-port", $"{port}", "--tls-cert-file", certificate, "--tls-key-file", key,
            "--tls-ca-cert-file", certificate, "--tls-auth-clients", "no");
        return (port, certificate);
    }

    static void CreateCertificate(string certificatePath, string keyPath)
    {
        using var rsa = RSA.Create(2048);
        var request = new CertificateRequest(
            "CN=localhost", rsa, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
        request.CertificateExtensions.Add(
            new X509BasicConstraintsExtension(certificateAuthority: true, false, 0, true));
        var names = new SubjectAlternativeNameBuilder();
        names.AddDnsName("localhost");
        names.AddIpAddress(IPAddress.Loopback);
        request.CertificateExtensions.Add(names.Build());
        using var certificate = request.CreateSelfSigned(
            DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddDays(1));
        File.WriteAllText(certificatePath, certificate.ExportCertificatePem());
        File.WriteAllText(keyPath, rsa.ExportPkcs8PrivateKeyPem());
    }
}
