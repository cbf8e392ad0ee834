using System.Net;
using System.Net.Sockets;
using Microsoft.AspNetCore.Hosting.Server;
using QRCoder;

namespace WebDemo;

/// <summary>
/// With <c>--Lan=true</c>, the demo listens on all addresses of the computer. The start page then shows a QR code for a
/// phone in the same network.
/// </summary>
sealed class PhoneLink(IConfiguration settings, IServer server)
{
    const string DefaultUrl = "http://*:5000";

    // No packet is sent to this address. The address only selects the network interface.
    static readonly IPAddress ExternalAddress = IPAddress.Parse("192.0.2.1");

    /// <summary>The URL of this computer. Null if the demo listens only on localhost.</summary>
    public string? Url => field ??= settings.GetValue("Lan", false) ? FindUrl() : null;

    public static void Listen(WebApplicationBuilder builder)
    {
        if (builder.Configuration.GetValue("Lan", false) && builder.Configuration["urls"] is null) builder.WebHost.UseUrls(DefaultUrl);
    }

    #region phone
    public void Map(IEndpointRouteBuilder app) =>
        app.MapGet("/phone.svg", () => Url is null ? Results.NotFound() : TypedResults.Text(CreateQrCode(Url), "image/svg+xml"));
    #endregion

    static string CreateQrCode(string url)
    {
        using var generator = new QRCodeGenerator();
        using var code = generator.CreateQrCode(url, QRCodeGenerator.ECCLevel.M);
        return new SvgQRCode(code).GetGraphic(4);
    }

    string FindUrl()
    {
        var address = ServerAddress.Get(server);
        return $"{address.Scheme}://{FindHost()}:{address.Port}/";
    }

    static string FindHost()
    {
        try
        {
            using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
            socket.Connect(ExternalAddress, 9);
            return ((IPEndPoint)socket.LocalEndPoint!).Address.ToString();
        }
        catch (SocketException)
        {
            // The computer has no route to other networks.
            return Dns.GetHostName();
        }
    }
}
