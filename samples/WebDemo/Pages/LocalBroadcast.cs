namespace WebDemo;

/// <summary>
/// The broadcast of the start page, the game and the load page. This broadcast does not use Redis, because each node has
/// its own game and its own figures. The settings are in the section Local of appsettings.json.
/// </summary>
static class LocalBroadcast
{
    public const string Name = "local";
}
