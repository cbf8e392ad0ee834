using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;

namespace WebDemo;

/// <summary>The address of this server.</summary>
static class ServerAddress
{
    /// <summary>Returns the first address, for example http://*:5000. The server must be running.</summary>
    public static BindingAddress Get(IServer server) =>
        BindingAddress.Parse(server.Features.Get<IServerAddressesFeature>()!.Addresses.First());

    /// <summary>Returns the WebSocket URL of a path for clients on this computer.</summary>
    public static Uri GetLocalUrl(IServer server, string path)
    {
        var address = Get(server);
        return new($"ws://{(address.Host is "127.0.0.1" or "[::1]" ? address.Host : "localhost")}:{address.Port}{path}");
    }
}
